//! `-j CLUSTERIP`: hosts that share an address and divide the packets among them (libipt_CLUSTERIP,
//! ipt_CLUSTERIP.c of kernels before 6.12).

use bstr::BStr;
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::Listing;
use crate::matches::mac::{MacAddress, address};
use crate::print::Line;
use crate::ruleset::Family;
use crate::value::{number_of, ranged};

/// The `CLUSTERIP` target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Clusterip {
    /// What `--new` sets up; none joins the cluster that another rule has set up.
    pub new: Option<Cluster>,
}

/// A cluster and this host's part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// `--hashmode`
    pub mode: HashMode,
    /// `--clustermac`, a multicast address.
    pub mac: MacAddress,
    /// `--total-nodes`, at most 16.
    pub total_nodes: u16,
    /// `--local-node`, from 1 to 16.
    pub local_node: u16,
    /// `--hash-init`
    pub seed: u32,
}

/// What of a packet is hashed to find its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HashMode {
    /// `sourceip`
    Sourceip,
    /// `sourceip-sourceport`
    SourceipSourceport,
    /// `sourceip-sourceport-destport`
    SourceipSourceportDestport,
}

/// `CLUSTERIP_MAX_NODES`
const NODES: u64 = 16;
const MODES: [(HashMode, &str); 3] = [
    (HashMode::Sourceip, "sourceip"),
    (HashMode::SourceipSourceport, "sourceip-sourceport"),
    (
        HashMode::SourceipSourceportDestport,
        "sourceip-sourceport-destport",
    ),
];

static NEW: Opt<()> = switch(&["new"]);
static MODE: Opt<HashMode> = Opt::new(&["hashmode"], mode);
static MAC: Opt<MacAddress> = Opt::new(&["clustermac"], mac);
static TOTAL_NODES: Opt<u16> = Opt::new(&["total-nodes"], |value| ranged(value.word(0), 0..=NODES));
// Node 0 is taken by the tool and refused by the kernel.
static LOCAL_NODE: Opt<u16> = Opt::new(&["local-node"], |value| ranged(value.word(0), 1..=NODES));
static SEED: Opt<u32> = Opt::new(&["hash-init"], |value| number_of(value.word(0)));

impl Extension for Clusterip {
    const NAME: &'static str = "CLUSTERIP";
    const FAMILY: Option<Family> = Some(Family::V4);
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &NEW.spec,
        &MODE.spec,
        &MAC.spec,
        &TOTAL_NODES.spec,
        &LOCAL_NODE.spec,
        &SEED.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let mode = arguments.get(&MODE)?;
        let mac = arguments.get(&MAC)?;
        let total_nodes = arguments.get(&TOTAL_NODES)?;
        let local_node = arguments.get(&LOCAL_NODE)?;
        let seed = arguments.get(&SEED)?;
        if arguments.given.is_empty() {
            return Ok(Self { new: None });
        }
        match (mode, mac, total_nodes, local_node) {
            (Some(mode), Some(mac), Some(total_nodes), Some(local_node))
                if arguments.has(&NEW) =>
            {
                Ok(Self {
                    new: Some(Cluster {
                        mode: mode.value.value,
                        mac: mac.value.value,
                        total_nodes: total_nodes.value.value,
                        local_node: local_node.value.value,
                        seed: seed.map_or(0, |given| given.value.value),
                    }),
                })
            }
            _ => Err(arguments
                .error(code::MISSING_OPTION, "the cluster is not described in full")
                .with_help(
                    "give --new, --hashmode, --clustermac, --total-nodes and --local-node, or none of them",
                )),
        }
    }

    fn print(&self, line: &mut Line) {
        let Some(new) = &self.new else {
            return;
        };
        line.word("--new --hashmode");
        let row = MODES.iter().find(|row| row.0 == new.mode);
        line.word(row.map(|row| row.1).unwrap_or_default());
        line.word("--clustermac");
        line.word(new.mac.to_string().to_uppercase());
        line.word("--total-nodes");
        line.word(new.total_nodes);
        line.word("--local-node");
        line.word(new.local_node);
        line.word("--hash-init");
        line.word(new.seed);
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("CLUSTERIP");
        let Some(new) = &self.new else { return };
        let row = MODES.iter().find(|row| row.0 == new.mode);
        let mode = row.map(|row| row.1).unwrap_or_default();
        let mac = new.mac.to_string().to_uppercase();
        let Cluster {
            total_nodes,
            local_node,
            seed,
            ..
        } = new;
        line.word(format_args!(
            "hashmode={mode} clustermac={mac} total_nodes={total_nodes} local_node={local_node} hash_init={seed}"
        ));
    }
}

fn mode(value: &Value<'_>) -> Result<HashMode, Problem> {
    let word = value.word(0);
    let row = MODES.iter().find(|row| row.1.as_bytes() == word);
    row.map(|row| row.0).ok_or_else(|| {
        let names: Vec<&str> = MODES.iter().map(|row| row.1).collect();
        Problem::new(format!("{:?} is no hash mode", BStr::new(word)))
            .with_help(format!("write one of {}", names.join(", ")))
    })
}

fn mac(value: &Value<'_>) -> Result<MacAddress, Problem> {
    let mac = address(value)?;
    if mac.0[0] & 1 == 0 {
        return Err(
            Problem::new("the cluster's MAC address is no multicast one")
                .with_help("the first byte must be odd, as in 01:00:5e:00:01:01"),
        );
    }
    Ok(mac)
}
