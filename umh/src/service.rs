//! The methods: those that need only the compiler are handed to it as they came; those with rights are done
//! here, with what the compiler makes.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipt2bpf_codegen::counters::CounterLayout;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{Counts, ParseOptions, heading, parse};
use ipt2bpf_runtime::{
    Counter, Enough, Error, Loaded, Log, LogNames, Maps, Registry, Ring, XdpWish, counters, kernel,
    load_keeping,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::Peer;
use crate::cache::{Cache, Key};
use crate::compiler::job::{Answer, Job, Prepare, Prepared};
use crate::compiler::pool::Pool;
use crate::descriptors;
use crate::failure::Failure;
use crate::frame::Frame;
use crate::place::Place;
use crate::request::{Choices, Rules};
use crate::varlink::{Call, IO_IPT2BPF, ORG_VARLINK_SERVICE};
use crate::xtables::{Done, Errno, Refusal, Tables};

/// The interfaces with their descriptions.
const INTERFACES: [(&str, &str); 2] = [
    ("org.varlink.service", ORG_VARLINK_SERVICE),
    ("io.ipt2bpf", IO_IPT2BPF),
];
/// The period of `Monitor`, in milliseconds: the usual one, and the shortest and longest.
const INTERVAL: u64 = 1000;
const INTERVALS: std::ops::RangeInclusive<u64> = 10..=3_600_000;
/// How many lines of the log one reply has at most.
const MOST_LINES: usize = 1000;

/// The service, for all clients.
#[derive(Debug)]
pub struct Service {
    /// Who compiles.
    pub pool: Arc<Pool>,
    /// What is attached; none where there is no place for pins.
    pub registry: Option<Registry>,
    /// The group that may load and attach, beside root.
    pub group: Option<u32>,
    /// The longest request, in bytes.
    pub request_limit: usize,
    /// Earlier answers.
    pub cache: Cache,
}

/// A reply.
#[derive(Debug)]
pub struct Reply {
    /// Its parameters.
    pub value: Value,
    /// What travels with it.
    pub descriptors: Vec<OwnedFd>,
}

impl From<Value> for Reply {
    fn from(value: Value) -> Reply {
        Reply {
            value,
            descriptors: Vec::new(),
        }
    }
}

/// Who takes the replies of a method before the last; an error ends the method.
pub type Sink<'a> = dyn FnMut(Value) -> io::Result<()> + 'a;

/// `Load`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Load {
    rules: Rules,
    #[serde(default)]
    choices: Option<Choices>,
    #[serde(default)]
    counters: Option<bool>,
}

/// `Attach` and `Replace`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attach {
    place: Place,
    rules: Rules,
    #[serde(default)]
    choices: Option<Choices>,
    #[serde(default)]
    counters: Option<bool>,
}

/// `Detach` and `Counters`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct At {
    place: Place,
}

/// `Monitor`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Monitor {
    place: Place,
    #[serde(default)]
    interval: Option<u64>,
}

/// `SocketOption`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SocketOption {
    place: Place,
    family: Family,
    set: bool,
    option: u32,
    payload: String,
    #[serde(default)]
    length: Option<usize>,
    #[serde(default)]
    choices: Option<Choices>,
}

/// `GetInterfaceDescription`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Interface {
    interface: String,
}

/// The only part of `Compile` that is not for the compiler.
#[derive(Deserialize)]
struct Transport {
    #[serde(default)]
    memfd: Option<bool>,
}

impl Service {
    /// Answers a call of a client.
    ///
    /// # Errors
    /// What the client is told.
    pub fn call(
        &self,
        peer: &Peer,
        call: &Call<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<Reply, Failure> {
        let (interface, method) = call
            .method
            .rsplit_once('.')
            .ok_or_else(|| Failure::no_method(&call.method))?;
        match interface {
            "org.varlink.service" => self.describe(call, method),
            "io.ipt2bpf" => self.method(peer, call, method, sink),
            other => Err(Failure::no_interface(other)),
        }
    }

    fn describe(&self, call: &Call<'_>, method: &str) -> Result<Reply, Failure> {
        match method {
            "GetInfo" => Ok(json!({
                "vendor": "ipt2bpf",
                "product": "ipt2bpf",
                "version": env!("CARGO_PKG_VERSION"),
                "url": "https://github.com/ipt2bpf/ipt2bpf",
                "interfaces": INTERFACES.map(|(name, _)| name),
            })
            .into()),
            "GetInterfaceDescription" => {
                let Interface { interface } = call.read_parameters()?;
                let found = INTERFACES.iter().find(|(name, _)| *name == interface);
                let (_, description) = found.ok_or_else(|| Failure::no_interface(&interface))?;
                Ok(json!({ "description": description }).into())
            }
            _ => Err(Failure::no_method(&call.method)),
        }
    }

    fn method(
        &self,
        peer: &Peer,
        call: &Call<'_>,
        method: &str,
        sink: &mut Sink<'_>,
    ) -> Result<Reply, Failure> {
        let privileged = peer.is_privileged(self.group);
        match method {
            "GetCapabilities" => {
                let kernel = kernel::target().map(|version| version.to_string());
                return Ok(json!({
                    "version": env!("CARGO_PKG_VERSION"),
                    "hooks": Hook::ALL,
                    "kernel": kernel,
                    "requestLimit": self.request_limit,
                    "seconds": self.pool.time().as_secs(),
                    "privileged": privileged,
                })
                .into());
            }
            "Compile" => return self.compile(peer, call),
            "Check" | "Decode" => {
                let answer = self.cached(peer, method, call.parameters())?;
                return Ok(answer.value.clone().into());
            }
            // The clock of the packets is that of the moment.
            "Explain" => return Ok(self.ask(peer, method, call.parameters())?.value.into()),
            _ => {}
        }
        let known = [
            "Load",
            "Attach",
            "Replace",
            "Detach",
            "List",
            "Counters",
            "Monitor",
            "SocketOption",
        ];
        if !known.contains(&method) {
            return Err(Failure::no_method(&call.method));
        }
        if !privileged {
            return Err(Failure::permission_denied());
        }
        match method {
            "Load" => self.load(peer, &call.read_parameters()?),
            "Attach" => self.attach(peer, &call.read_parameters()?, false),
            "Replace" => self.attach(peer, &call.read_parameters()?, true),
            "Detach" => self.detach(&call.read_parameters()?),
            "List" => self.list(),
            "Counters" => self.counters(&call.read_parameters()?),
            "Monitor" if call.more != Some(true) => Err(Failure::expected_more()),
            "Monitor" => self.monitor(&call.read_parameters()?, sink),
            _ => self.socket_option(call.read_parameters()?),
        }
    }

    /// Hands a method to the compiler with the parameters as they came.
    fn ask(&self, peer: &Peer, method: &str, parameters: &str) -> Result<Answer, Failure> {
        let text = format!("{{\"method\":\"{method}\",\"parameters\":{parameters}}}");
        let frame = Frame {
            text: text.into_bytes(),
            bytes: Vec::new(),
        };
        self.pool.run_text(peer.user, frame)
    }

    fn cached(&self, peer: &Peer, method: &str, parameters: &str) -> Result<Arc<Answer>, Failure> {
        let key = Key::new(method, parameters);
        if let Some(answer) = self.cache.get(key) {
            return Ok(answer);
        }
        let answer = Arc::new(self.ask(peer, method, parameters)?);
        let text = answer.value.to_string().len();
        self.cache.put(key, &answer, text);
        Ok(answer)
    }

    fn compile(&self, peer: &Peer, call: &Call<'_>) -> Result<Reply, Failure> {
        let Transport { memfd } = call.read_parameters()?;
        let answer = self.cached(peer, "Compile", call.parameters())?;
        let mut value = answer.value.clone();
        let mut files = Vec::new();
        if memfd == Some(true) {
            let object = descriptors::sealed("ipt2bpf-object", &answer.bytes);
            files.push(object.map_err(Failure::kernel)?.into());
            value["objectFileDescriptor"] = json!(0);
        } else {
            value["object"] = json!(STANDARD.encode(&answer.bytes));
        }
        Ok(Reply {
            value,
            descriptors: files,
        })
    }

    /// Compiles for the running kernel, loads, and fills the maps.
    fn make(
        &self,
        peer: &Peer,
        hooks: Vec<Hook>,
        rules: &Rules,
        choices: Option<&Choices>,
        seeded: bool,
        replaced: &[Maps],
    ) -> Result<(Loaded, Value), Failure> {
        let job = Job::Prepare(Prepare {
            rules: rules.clone(),
            choices: choices.cloned(),
            hooks,
        });
        let (prepared, object) = self.pool.ask(peer.user, &job, Vec::new())?;
        let Prepared { messages, counters } = prepared;
        let load = || {
            let loaded = load_keeping(&object, replaced)?;
            loaded.maps().fill()?;
            if seeded {
                let counters = counters.into_iter();
                let counters = counters.map(|(packets, bytes)| Counter { packets, bytes });
                loaded.maps().seed_counters(&counters.collect::<Vec<_>>())?;
            }
            Ok::<_, Error>(loaded)
        };
        Ok((load().map_err(Failure::kernel)?, messages))
    }

    fn load(&self, peer: &Peer, request: &Load) -> Result<Reply, Failure> {
        let Load {
            rules,
            choices,
            counters,
        } = request;
        let seeded = *counters == Some(true);
        let (loaded, messages) =
            self.make(peer, Vec::new(), rules, choices.as_ref(), seeded, &[])?;
        let mut programs = Vec::new();
        let mut files = Vec::new();
        for (hook, file) in loaded.descriptors() {
            programs.push(json!({ "hook": hook, "fileDescriptor": files.len() }));
            files.push(file.try_clone_to_owned().map_err(Failure::kernel)?);
        }
        Ok(Reply {
            value: json!({ "programs": programs, "messages": messages }),
            descriptors: files,
        })
    }

    fn attach(&self, peer: &Peer, request: &Attach, replaces: bool) -> Result<Reply, Failure> {
        let Attach {
            place,
            rules,
            choices,
            counters,
        } = request;
        let registry = self.registry()?;
        let possible = place.hooks();
        let wanted = choices.as_ref().and_then(|choices| choices.hooks.clone());
        let hooks = wanted.unwrap_or_else(|| possible.clone());
        if hooks.is_empty() || hooks.iter().any(|hook| !possible.contains(hook)) {
            return Err(Failure::invalid_parameter("hooks"));
        }
        let _alone = registry.turn().map_err(Failure::kernel)?;
        let before = place.objects(registry).map_err(Failure::kernel)?;
        match (before.is_empty(), replaces) {
            (true, true) => return Err(Failure::nothing_attached()),
            (false, false) => return Err(Failure::already_attached()),
            _ => {}
        }
        let seeded = *counters == Some(true);
        let (loaded, messages) =
            self.make(peer, hooks, rules, choices.as_ref(), seeded, &before)?;
        let put = || {
            loaded.maps().seed_connections()?;
            place.put(registry, &loaded, XdpWish::Auto)
        };
        let notes = put().map_err(Failure::kernel)?;
        Ok(json!({ "messages": messages, "notes": notes }).into())
    }

    fn detach(&self, request: &At) -> Result<Reply, Failure> {
        let registry = self.registry()?;
        let _alone = registry.turn().map_err(Failure::kernel)?;
        let attachments = request.place.attachments(registry);
        let attachments = attachments.map_err(Failure::kernel)?;
        if attachments.is_empty() {
            return Err(Failure::nothing_attached());
        }
        for attachment in attachments {
            registry.detach(&attachment).map_err(Failure::kernel)?;
        }
        Ok(json!({}).into())
    }

    fn list(&self) -> Result<Reply, Failure> {
        let all = self.registry()?.list().map_err(Failure::kernel)?;
        let rows = all.iter().map(|attachment| {
            json!({
                "place": attachment.site.to_string(),
                "hook": attachment.hook,
                "program": attachment.program_id,
                "link": attachment.link_id,
                "alive": attachment.alive,
            })
        });
        Ok(json!({ "attachments": rows.collect::<Vec<Value>>() }).into())
    }

    /// The objects of a place, of which there is at least one.
    fn objects(&self, place: &Place) -> Result<Vec<Maps>, Failure> {
        let objects = place.objects(self.registry()?).map_err(Failure::kernel)?;
        match objects.is_empty() {
            true => Err(Failure::nothing_attached()),
            false => Ok(objects),
        }
    }

    fn counters(&self, request: &At) -> Result<Reply, Failure> {
        let rules = counted(&self.objects(&request.place)?)?;
        Ok(json!({ "rules": rules }).into())
    }

    /// Goes on until the client is gone.
    fn monitor(&self, request: &Monitor, sink: &mut Sink<'_>) -> Result<Reply, Failure> {
        let interval = request.interval.unwrap_or(INTERVAL);
        if !INTERVALS.contains(&interval) {
            return Err(Failure::invalid_parameter("interval"));
        }
        let interval = Duration::from_millis(interval);
        let mut names = LogNames::new().map_err(Failure::kernel)?;
        loop {
            // Looked at anew each time, as the rules may have been replaced.
            let objects = self.objects(&request.place)?;
            let rules = counted(&objects)?;
            let logs = objects
                .into_iter()
                .map(Log::open)
                .collect::<Result<Vec<_>, _>>();
            let mut logs: Vec<Log> = logs
                .map_err(Failure::kernel)?
                .into_iter()
                .flatten()
                .collect();
            let lines = lines(&mut logs, &mut names, interval)?;
            if sink(json!({ "rules": rules, "log": lines })).is_err() {
                return Ok(json!({ "log": [] }).into());
            }
        }
    }

    fn socket_option(&self, request: SocketOption) -> Result<Reply, Failure> {
        let payload = STANDARD.decode(&request.payload);
        let payload = payload.map_err(|_| Failure::invalid_parameter("payload"))?;
        let tables = Tables {
            place: request.place,
            registry: self.registry()?.clone(),
            pool: Arc::clone(&self.pool),
            choices: request.choices.unwrap_or_default(),
        };
        let (family, option) = (request.family, request.option);
        let done = match (request.set, request.length) {
            (true, _) => tables.set(family, option, &payload),
            (false, Some(length)) => tables.get(family, option, &payload, length),
            (false, None) => return Err(Failure::invalid_parameter("length")),
        };
        let (errno, payload, said) = match done {
            Ok(Done {
                payload,
                old_counters,
                said,
            }) => (
                0,
                old_counters.map_or(payload, |(_, counters)| counters),
                said,
            ),
            Err(Refusal {
                errno: Errno(errno),
                said,
            }) => (errno, Vec::new(), said),
        };
        let payload = STANDARD.encode(payload);
        Ok(json!({ "errno": errno, "payload": payload, "said": said }).into())
    }

    fn registry(&self) -> Result<&Registry, Failure> {
        let registry = self.registry.as_ref();
        registry.ok_or_else(|| Failure::kernel(Error::NoBpffs))
    }
}

/// The rules of objects with what they have counted, as iptables-save -c prints them.
fn counted(objects: &[Maps]) -> Result<String, Failure> {
    let mut text = String::new();
    for maps in objects {
        let read = || Ok::<_, Error>((maps.rules_text()?, maps.counters()?));
        let (rules, values) = read().map_err(Failure::kernel)?;
        let mut sources = Sources::default();
        let id = sources.add("rules", rules.clone());
        let mut rulesets = parse(&sources, id, &ParseOptions::default()).rulesets;
        let layout = CounterLayout::of_text(&rulesets, &rules);
        counters::into_text(&mut rulesets, &layout, &values);
        for ruleset in rulesets {
            text += heading(ruleset.family);
            text += &String::from_utf8_lossy(&ruleset.print(Counts::All));
        }
    }
    Ok(text)
}

/// What the logs get within a period.
fn lines(logs: &mut [Log], names: &mut LogNames, period: Duration) -> Result<Vec<String>, Failure> {
    let end = Instant::now() + period;
    let mut lines = Vec::new();
    loop {
        for log in &mut *logs {
            let mut wrong = None;
            let read = log.read(|record, told| {
                match names.line(record, told) {
                    Ok(line) => {
                        lines.extend(line.map(|it| String::from_utf8_lossy(&it).into_owned()));
                    }
                    Err(error) => wrong = Some(error),
                }
                match lines.len() >= MOST_LINES || wrong.is_some() {
                    true => Enough::Yes,
                    false => Enough::No,
                }
            });
            read.map_err(Failure::kernel)?;
            if let Some(error) = wrong {
                return Err(Failure::kernel(error));
            }
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || lines.len() >= MOST_LINES {
            return Ok(lines);
        }
        match logs.is_empty() {
            true => std::thread::sleep(left),
            false => Ring::wait(logs.iter().map(Log::ring), left).map_err(Failure::kernel)?,
        }
    }
}
