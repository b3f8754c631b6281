//! `-m pkttype`: whom the link layer says a packet is for (libxt_pkttype, xt_pkttype.c).

use bstr::BStr;
use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::{Listing, sign};
use crate::print::Line;
use crate::ruleset::Negatable;

/// The `pkttype` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pkttype(pub Negatable<PacketType>);

/// The types of packets (linux/if_packet.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PacketType {
    /// `PACKET_HOST`: for this host.
    Unicast,
    /// `PACKET_BROADCAST`: for all.
    Broadcast,
    /// `PACKET_MULTICAST`: for a group.
    Multicast,
    /// `PACKET_OTHERHOST`: for another host.
    OtherHost,
}

/// The name of save first for each type.
const NAMES: [(&str, PacketType); 7] = [
    ("unicast", PacketType::Unicast),
    ("broadcast", PacketType::Broadcast),
    ("multicast", PacketType::Multicast),
    ("otherhost", PacketType::OtherHost),
    ("host", PacketType::Unicast),
    ("bcast", PacketType::Broadcast),
    ("mcast", PacketType::Multicast),
];

static TYPE: Opt<PacketType> = Opt::new(&["pkt-type"], packet_type).invertible();

impl Extension for Pkttype {
    const NAME: &'static str = "pkttype";
    const OPTIONS: &'static [&'static OptionSpec] = &[&TYPE.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need(&TYPE).map(Self)
    }

    fn print(&self, line: &mut Line) {
        let row = NAMES.iter().find(|row| row.1 == self.0.value.value);
        line.option(self.0.negated, "--pkt-type");
        line.word(row.map_or("", |row| row.0));
    }

    fn list(&self, line: &mut Listing<'_>) {
        let row = NAMES.iter().find(|row| row.1 == self.0.value.value);
        let name = row.map_or("", |row| row.0);
        line.word(format_args!("PKTTYPE {}= {name}", sign(self.0.negated)));
    }
}

/// A whole name in either case.
fn packet_type(value: &Value<'_>) -> Result<PacketType, Problem> {
    let word = value.word(0);
    let mut rows = NAMES.iter();
    rows.find(|row| row.0.as_bytes().eq_ignore_ascii_case(word))
        .map(|row| row.1)
        .ok_or_else(|| {
            Problem::new(format!("{:?} is no packet type", BStr::new(word)))
                .usage(format!("Bad packet type '{}'", BStr::new(word)))
                .with_help("the types are unicast, broadcast, multicast and otherhost")
        })
}
