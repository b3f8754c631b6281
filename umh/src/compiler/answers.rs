//! The answers that need nothing but the request.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipt2bpf_codegen::compile::{Compiled, translate};
use ipt2bpf_codegen::counters::CounterLayout;
use ipt2bpf_codegen::explain::story::{Bench, Subject};
use ipt2bpf_codegen::explain::words::PacketWords;
use ipt2bpf_codegen::log::book::Book;
use ipt2bpf_codegen::messages::{JsonMessage, by_place};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::needs::{Filled, warnings};
use ipt2bpf_codegen::options::{DeviceNames, KernelVersion, Options};
use ipt2bpf_codegen::sets::Sets;
use ipt2bpf_codegen::{check as checking, compile as compiling, explain as explaining};
use ipt2bpf_parser::blob::{SetNames, decode_replace};
use ipt2bpf_parser::diagnostic::Diagnostic;
use ipt2bpf_parser::input::{Input, has_errors};
use ipt2bpf_parser::ruleset::Ruleset;
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{Counts, ParseOptions, heading};
use ipt2bpf_runtime::counters;
use serde_json::{Value, json};

use super::Host;
use super::job::{Answer, Prepare, Prepared};
use crate::failure::Failure;
use crate::request::{Check, Choices, Compile, Decode, Explain, Rules};

/// The most texts of rules and of sets in one request: they are numbered with 16 bits.
const MAX_TEXTS: usize = 1 << 12;
/// The most packets that one request explains.
const MAX_PACKETS: usize = 1 << 10;

/// Reads rules and sets. What is wrong with them is among their diagnostics.
fn read(host: &Host, rules: &Rules) -> Result<Input, Failure> {
    let sets = rules.sets.as_deref().unwrap_or_default();
    if rules.texts.len() > MAX_TEXTS {
        return Err(Failure::invalid_parameter("texts"));
    }
    if sets.len() > MAX_TEXTS {
        return Err(Failure::invalid_parameter("sets"));
    }
    let options = ParseOptions {
        family: rules.family,
        names: host.names.clone(),
    };
    let mut input = Input::default();
    for (number, text) in rules.texts.iter().enumerate() {
        let (name, text) = (format!("texts[{number}]"), text.clone().into_bytes());
        match rules.noflush {
            Some(true) => input.add_onto(name, text, &options),
            _ => input.add(name, text, &options),
        }
    }
    input.warn_of_nothing();
    let texts = sets.iter().enumerate();
    let texts = texts.map(|(number, text)| (format!("sets[{number}]"), text.clone().into_bytes()));
    input.add_sets(texts, &host.names);
    Ok(input)
}

/// The options that a caller chooses, before those that the machine makes.
fn options(
    host: &Host,
    input: &Input,
    choices: Option<&Choices>,
    defaults: Options,
) -> Result<Options, Failure> {
    let options = Options {
        sets: Sets::new(&input.sets),
        tick_rate: host.tick_rate,
        ..defaults
    };
    match choices {
        None => Ok(options),
        Some(choices) => choices.apply(options).map_err(Failure::invalid_parameter),
    }
}

/// Messages as JSON.
fn messages(said: Vec<Diagnostic>, sources: &Sources) -> Value {
    let said = by_place(said);
    let messages: Vec<JsonMessage<'_>> = said
        .iter()
        .map(|it| JsonMessage::new(it, sources))
        .collect();
    // Strings and numbers always become values.
    serde_json::to_value(messages).unwrap_or_default()
}

/// Compiles, or says why not.
fn translated(
    input: &Input,
    options: &Options,
    filled: Filled,
) -> Result<(Compiled, Value), Failure> {
    let refused = |said| Failure::refused(messages(said, &input.sources));
    if input.has_errors() {
        return Err(refused(input.diagnostics.clone()));
    }
    let mut said = input.diagnostics.clone();
    let compiled = match compiling::compile(&input.rulesets, options) {
        Ok(compiled) => compiled,
        Err(errors) => {
            said.extend(errors);
            return Err(refused(said));
        }
    };
    said.extend(compiled.diagnostics.clone());
    said.extend(warnings(&compiled, options, filled, &input.sources));
    Ok((compiled, messages(said, &input.sources)))
}

/// `Compile`.
pub fn compile(host: &Host, request: &Compile) -> Result<Answer, Failure> {
    let input = read(host, &request.rules)?;
    let mut options = options(host, &input, request.choices.as_ref(), Options::default())?;
    if options.target_kernel >= Some(KernelVersion::KERNEL_CONTEXT) {
        options.device_names = DeviceNames::Relocated;
    }
    let (compiled, messages) = translated(&input, &options, Filled::Later)?;
    let hooks: Vec<Hook> = compiled.filters.iter().map(|filter| filter.hook).collect();
    let value = json!({
        "kernel": compiled.kernel.to_string(),
        "hooks": hooks,
        "messages": messages,
    });
    Ok(Answer::new(value, compiled.object))
}

/// What is made for the running kernel, with these choices.
pub fn for_this_kernel(host: &Host, hooks: Vec<Hook>, choices: Options) -> Options {
    Options {
        // A program at an interface sees only what arrives there.
        companion: hooks == [Hook::Xdp],
        hooks,
        device_names: host
            .device_access
            .map_or(DeviceNames::Table, DeviceNames::Kernel),
        target_kernel: host.target,
        tick_rate: host.tick_rate,
        ..choices
    }
}

/// Compiles for the running kernel.
pub fn prepare(host: &Host, request: &Prepare) -> Result<Answer, Failure> {
    let input = read(host, &request.rules)?;
    let defaults = for_this_kernel(host, request.hooks.clone(), Options::default());
    let mut options = options(host, &input, request.choices.as_ref(), defaults)?;
    options.target_kernel = host.target;
    if !request.hooks.is_empty() {
        options.hooks.clone_from(&request.hooks);
    }
    let (compiled, messages) = translated(&input, &options, Filled::Now)?;
    let counted = counters::of_text(&input.rulesets, &compiled.counters);
    let counters = counted.iter().map(|it| (it.packets, it.bytes)).collect();
    Ok(Answer::new(
        Prepared { messages, counters },
        compiled.object,
    ))
}

/// `Check`.
pub fn check(host: &Host, request: &Check) -> Result<Answer, Failure> {
    let input = read(host, &request.rules)?;
    if input.has_errors() {
        return Err(Failure::refused(messages(
            input.diagnostics,
            &input.sources,
        )));
    }
    let options = options(host, &input, request.choices.as_ref(), Options::default())?;
    let report = checking::check(&input.rulesets, &options, input.diagnostics);
    Ok(Answer::new(report.json(&input.sources), Vec::new()))
}

/// `Explain`.
pub fn explain(host: &Host, request: &Explain) -> Result<Answer, Failure> {
    if request.packets.len() > MAX_PACKETS {
        return Err(Failure::invalid_parameter("packets"));
    }
    let input = read(host, &request.rules)?;
    let mut packets = Vec::new();
    for text in &request.packets {
        let wrong = |reason: String| Failure::invalid_parameter(&format!("packets: {reason}"));
        let packet: PacketWords = text.parse().map_err(wrong)?;
        let hook = explaining::hook_of(&packet.devices, request.hook).map_err(wrong)?;
        packets.push((packet, hook));
    }
    let options = Options {
        hooks: packets.iter().map(|&(_, hook)| hook).collect(),
        ..options(host, &input, request.choices.as_ref(), Options::default())?
    };
    let mut said = input.diagnostics.clone();
    let (filters, _, more) = translate(&input.rulesets, &options);
    if !input.has_errors() {
        said.extend(more);
    }
    let wrong = has_errors(&said);
    let messages = messages(said, &input.sources);
    if wrong {
        return Err(Failure::refused(messages));
    }
    let book = Book::new(&input.rulesets, &CounterLayout::new(&input.rulesets));
    let mut bench = Bench::new(&filters, book, &input.sources, &options);
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    bench.set_clock(since_1970.unwrap_or_default());
    let mut stories = Vec::new();
    for (packet, hook) in &packets {
        let subject = Subject {
            title: packet.text.clone(),
            note: None,
            hook: *hook,
            family: packet.family,
            bytes: &packet.bytes,
            devices: &packet.devices,
            metadata: &packet.metadata,
            link_header: packet.link_header(),
        };
        let judgement = bench.judge(&subject);
        let story = bench.story(&subject, &judgement, request.verbose == Some(true));
        stories.push(json!({ "hook": hook, "verdict": explaining::story::shout(judgement.verdict()), "story": story }));
    }
    let value = json!({ "stories": stories, "messages": messages });
    Ok(Answer::new(value, Vec::new()))
}

/// `Decode`.
pub fn decode(request: &Decode) -> Result<Answer, Failure> {
    let blob = STANDARD.decode(&request.blob);
    let blob = blob.map_err(|_| Failure::invalid_parameter("blob"))?;
    let replace = decode_replace(request.family, &blob, &SetNames::default())
        .map_err(|error| Failure::bad_blob(error.offset, &error.flaw.to_string()))?;
    let ruleset = Ruleset {
        family: request.family,
        tables: vec![replace.table],
    };
    let counts = match request.counters {
        Some(true) => Counts::All,
        _ => Counts::Chains,
    };
    let text = [heading(ruleset.family).as_bytes(), &ruleset.print(counts)].concat();
    let text = String::from_utf8(text)
        .map_err(|_| Failure::bad_blob(0, "a comment or name in it is not UTF-8"))?;
    Ok(Answer::new(json!({ "rules": text }), Vec::new()))
}
