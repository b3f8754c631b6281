//! What the methods answer.

use std::fs;
use std::io::{Read, Write};
use std::process::Command;

use ipt2bpf_umh::varlink::{IO_IPT2BPF, ORG_VARLINK_SERVICE};
use serde_json::json;
use varlink::{Connection, OrgVarlinkServiceClient, OrgVarlinkServiceInterface};
use varlink_parser::IDL;

use crate::{Helper, RULES, rules};

#[test]
fn an_independent_client_reads_the_interface() {
    let helper = Helper::start(&[]);
    let address = format!("unix:{}", helper.socket().display());
    let connection = Connection::with_address(&address).unwrap();
    let mut service = OrgVarlinkServiceClient::new(connection);
    let info = service.get_info().unwrap();
    assert_eq!(info.interfaces, ["org.varlink.service", "io.ipt2bpf"]);
    for (name, expected) in [
        ("io.ipt2bpf", IO_IPT2BPF),
        ("org.varlink.service", ORG_VARLINK_SERVICE),
    ] {
        let reply = service.get_interface_description(name).unwrap();
        let description = reply.description.unwrap();
        assert_eq!(description, expected);
        let parsed = IDL::try_from(description.as_str()).unwrap();
        assert_eq!(parsed.name, name);
        // Each method that is described is there: without parameters it complains of those, or works.
        for method in parsed.methods.keys() {
            let called = helper
                .client()
                .call(&format!("{name}.{method}"), &json!({}));
            if let Err(error) = called {
                let error = error.to_string();
                assert!(
                    !error.contains("NotFound") && !error.contains("NotImplemented"),
                    "{error}"
                );
            }
        }
    }
    service
        .get_interface_description("org.example")
        .unwrap_err();
}

#[test]
fn objects_are_those_of_the_command() {
    let helper = Helper::start(&[]);
    let file = helper.dir.path().join("rules");
    fs::write(&file, RULES).unwrap();
    let command = Command::new(env!("CARGO_BIN_EXE_ipt2bpf"))
        .args(["--hook", "xdp", "-o", "-"])
        .args(["--emit", "object"])
        .arg(&file)
        .current_dir(helper.dir.path())
        .output()
        .unwrap();
    assert!(command.status.success(), "{command:?}");
    let expected = fs::read(helper.dir.path().join("-")).unwrap();
    let choices = json!({ "hooks": ["xdp"] });
    let parameters = json!({ "rules": rules(RULES), "choices": choices, "memfd": true });
    for _ in 0..2 {
        // The second time from what is kept.
        let answer = helper.call("Compile", &parameters).unwrap();
        assert_eq!(answer.parameters["objectFileDescriptor"], 0);
        let mut file = fs::File::from(answer.descriptors.into_iter().next().unwrap());
        let mut object = Vec::new();
        file.read_to_end(&mut object).unwrap();
        assert!(object == expected, "{} bytes", object.len());
        file.write_all(b"x").unwrap_err();
    }
    let parameters = json!({ "rules": rules(RULES), "choices": choices });
    let answer = helper.call("Compile", &parameters).unwrap();
    let object = answer.parameters["object"].as_str().unwrap();
    assert_eq!(object.len(), expected.len().div_ceil(3) * 4);
    assert_eq!(answer.parameters["hooks"], json!(["xdp"]));
}

#[test]
fn rules_are_checked_explained_and_decoded() {
    let helper = Helper::start(&[]);
    let report = helper
        .call("Check", &json!({ "rules": rules(RULES) }))
        .unwrap();
    assert_eq!(report.parameters["exact"], true);
    assert_eq!(report.parameters["unfiltered"], json!(["v6"]));
    let packets = [
        "tcp 10.0.0.1:1000 > 10.0.0.2:22",
        "udp 10.0.0.1:1000 > 10.0.0.2:22",
    ];
    let parameters = json!({ "rules": rules(RULES), "packets": packets, "hook": "xdp" });
    let told = helper.call("Explain", &parameters).unwrap().parameters;
    assert_eq!(told["stories"][0]["verdict"], "ACCEPT");
    assert_eq!(told["stories"][1]["verdict"], "DROP");
    let story = told["stories"][1]["story"].as_str().unwrap();
    assert!(
        story.ends_with("DROP: rule 2 of filter INPUT, texts[0]:7\n"),
        "{story}"
    );
    // An empty table of another hook mask.
    let (error, parameters) = helper.error("Decode", &json!({ "family": "v4", "blob": "AAAA" }));
    assert_eq!(error, "io.ipt2bpf.BadBlob");
    assert_eq!(parameters["reason"], "the header has another length");
}

#[test]
fn mistakes_are_told_with_their_place() {
    let helper = Helper::start(&[]);
    let wrong = "*filter\n-A INPUT -p tcp --dprot 22 -j DROP\nCOMMIT\n";
    let (error, parameters) = helper.error("Compile", &json!({ "rules": rules(wrong) }));
    assert_eq!(error, "io.ipt2bpf.Refused");
    let place = &parameters["messages"][0]["place"];
    assert_eq!(
        (&place["file"], &place["line"]),
        (&json!("texts[0]"), &json!(2))
    );
    assert_eq!(place["text"], "--dprot");
    let invalid = |method, parameters| {
        let (error, said) = helper.error(method, &parameters);
        assert_eq!(error, "org.varlink.service.InvalidParameter");
        said["parameter"].as_str().unwrap().to_owned()
    };
    assert_eq!(invalid("Compile", json!({})), "rules");
    assert_eq!(
        invalid("Compile", json!({ "rules": { "texts": [], "x": 1 } })),
        "x"
    );
    let choices = json!({ "tickRate": 1 });
    let parameters = json!({ "rules": rules(RULES), "choices": choices });
    assert_eq!(invalid("Compile", parameters), "tickRate");
    let choices = json!({ "targetKernel": "4.19" });
    let parameters = json!({ "rules": rules(RULES), "choices": choices });
    assert_eq!(invalid("Compile", parameters), "targetKernel");
    let place = json!({ "cgroup": "/x", "interfaces": ["lo"] });
    let parameters = json!({ "place": place });
    if nix::unistd::geteuid().is_root() {
        assert_eq!(invalid("Counters", parameters), "place");
    }
    assert_eq!(
        helper.error("Nonesuch", &json!({})).0,
        "org.varlink.service.MethodNotFound"
    );
    let (error, _) = helper.error("Monitor", &json!({ "place": { "cgroup": "/x" } }));
    assert_eq!(error, "org.varlink.service.ExpectedMore");
}

#[test]
fn the_command_calls_methods() {
    let helper = Helper::start(&[]);
    let call = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_ipt2bpf"))
            .arg("call")
            .arg("--socket")
            .arg(helper.socket())
            .args(words)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let object = helper.dir.path().join("object");
    let parameters = json!({ "rules": rules(RULES), "memfd": true }).to_string();
    let object_name = object.display().to_string();
    let (status, answer, _) = call(&["Compile", &parameters, "--file", &object_name]);
    assert_eq!(status, Some(0));
    assert!(answer.contains("\"objectFileDescriptor\":0"), "{answer}");
    assert!(fs::read(object).unwrap().starts_with(b"\x7fELF"));
    let (status, _, said) = call(&["Compile", "{}"]);
    assert_eq!(status, Some(1));
    assert!(
        said.contains("org.varlink.service.InvalidParameter"),
        "{said}"
    );
    assert_eq!(call(&["Compile", "{"]).0, Some(2));
}
