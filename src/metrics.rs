//! `metrics`: counters for Prometheus, in its text format
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use anyhow::Result;
use clap::Args;
use ipt2bpf_runtime::{Counter, Registry};

use crate::census::{self, Entry};
use crate::output;

/// Prints the counters of everything that is attached in Prometheus' text format
///
/// For the textfile collector of the node exporter, among others. Counters begin at zero when rules are
/// attached anew.
#[derive(Debug, Args)]
pub struct Arguments {}

/// A metric with its samples.
struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    samples: Vec<(Labels, u64)>,
}

type Labels = Vec<(&'static str, String)>;

impl Metric {
    fn new(name: &'static str, kind: &'static str, help: &'static str) -> Metric {
        Metric {
            name,
            kind,
            help,
            samples: Vec::new(),
        }
    }

    /// Nothing for a metric without samples.
    fn print(&self) -> String {
        if self.samples.is_empty() {
            return String::new();
        }
        let Metric {
            name, kind, help, ..
        } = self;
        let mut text = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in &self.samples {
            let labels: Vec<String> = labels
                .iter()
                .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
                .collect();
            text += &format!("{name}{{{}}} {value}\n", labels.join(","));
        }
        text
    }
}

pub fn run(Arguments {}: &Arguments) -> Result<()> {
    let attachments = Registry::find()?.list()?;
    let mut attached = Metric::new(
        "ipt2bpf_attached",
        "gauge",
        "Whether a program that was attached still runs.",
    );
    for attachment in &attachments {
        let labels = vec![
            ("place", attachment.site.to_string()),
            ("hook", attachment.hook.to_string()),
        ];
        attached.samples.push((labels, attachment.alive.into()));
    }
    let mut packets = Metric::new(
        "ipt2bpf_packets_total",
        "counter",
        "Packets that met a rule, or a chain's policy.",
    );
    let mut bytes = Metric::new(
        "ipt2bpf_bytes_total",
        "counter",
        "Bytes of packets that met a rule, or a chain's policy, from the IP header on.",
    );
    let mut connections = Metric::new(
        "ipt2bpf_connections",
        "gauge",
        "Connections that are tracked.",
    );
    let mut lost = Metric::new(
        "ipt2bpf_lost_log_records_total",
        "counter",
        "Records of LOG and NFLOG rules for which there was no room.",
    );
    for object in census::objects(&attachments)? {
        let place = || ("place", object.places.join(","));
        let (rulesets, layout) = census::rulesets(&object.maps)?;
        let counters = census::counters(&object.maps, &layout)?;
        for (entry, counter) in census::entries(&rulesets).iter().zip(counters) {
            let labels = labels(place(), entry);
            let Counter {
                packets: met,
                bytes: sum,
            } = counter;
            packets.samples.push((labels.clone(), met));
            bytes.samples.push((labels, sum));
        }
        if object.maps.tracks_connections() {
            let number = object.maps.connections()?.len() as u64;
            connections.samples.push((vec![place()], number));
        }
        if object.maps.ring().is_ok() {
            lost.samples
                .push((vec![place()], object.maps.lost_records()?));
        }
    }
    let text: String = [attached, packets, bytes, connections, lost]
        .iter()
        .map(Metric::print)
        .collect();
    output::print(text.as_bytes())
}

fn labels(place: (&'static str, String), entry: &Entry) -> Labels {
    let number = entry
        .number
        .map_or("policy".to_owned(), |number| number.to_string());
    vec![
        place,
        ("family", entry.family.to_string()),
        ("table", entry.table.to_string()),
        ("chain", entry.chain.clone()),
        ("rule", number),
        ("action", entry.action.clone()),
        ("text", entry.text.clone()),
    ]
}

/// A label's value: backslash, quote and newline are escaped.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_below_their_metric_with_labels_escaped() {
        let mut metric = Metric::new("m_total", "counter", "What is counted.");
        assert_eq!(metric.print(), "");
        let text = r#"-A INPUT -m comment --comment "a \ b""#.to_owned();
        metric.samples.push((vec![("text", text)], 7));
        assert_eq!(
            metric.print(),
            "# HELP m_total What is counted.\n# TYPE m_total counter\n\
             m_total{text=\"-A INPUT -m comment --comment \\\"a \\\\ b\\\"\"} 7\n"
        );
    }
}
