//! `-m cluster`: the connections that this node of a cluster is for (libxt_cluster, xt_cluster.c).

use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::{Listing, sign};
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::span::Spanned;
use crate::value::{integer, word32};

/// The `cluster` match. The kernel hashes the connection's original source address over the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// `--cluster-local-node`, `--cluster-local-nodemask`: a bit for each node that counts, the
    /// lowest for node 1.
    pub nodes: Negatable<u32>,
    /// `--cluster-total-nodes`: 1 to 32.
    pub total: u32,
    /// `--cluster-hash-seed`
    pub seed: u32,
}

/// `XT_CLUSTER_NODES_MAX`
const NODES: u64 = 32;

static TOTAL: Opt<u32> = Opt::new(&["cluster-total-nodes"], node);
static LOCAL: Opt<u32> = Opt::new(&["cluster-local-node"], node).invertible();
// iptables-restore takes no mask above 32, although iptables-save prints one for every node.
static MASK: Opt<u32> = Opt::new(&["cluster-local-nodemask"], |value| {
    word32(value.word(0))
        .filter(|&mask| mask != 0)
        .ok_or_else(|| Problem::new("a node mask is a number from 1 to 0xffffffff"))
})
.invertible();
static SEED: Opt<u32> = Opt::new(&["cluster-hash-seed"], |value| {
    word32(value.word(0)).ok_or_else(|| Problem::new("a seed is a number of at most 32 bits"))
});

impl Extension for Cluster {
    const NAME: &'static str = "cluster";
    const OPTIONS: &'static [&'static OptionSpec] =
        &[&TOTAL.spec, &LOCAL.spec, &MASK.spec, &SEED.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(&[&LOCAL.spec, &MASK.spec])?;
        let local = arguments.get(&LOCAL)?.map(|node| Negatable {
            negated: node.negated,
            value: Spanned {
                value: 1 << (node.value.value - 1),
                span: node.value.span,
            },
        });
        let nodes = local.or(arguments.get(&MASK)?).ok_or_else(|| {
            Diagnostic::error(code::MISSING_OPTION, arguments.span, "no node is given")
                .with_help("add --cluster-local-node or --cluster-local-nodemask")
        })?;
        let total = arguments.need(&TOTAL)?.value.value;
        if u64::from(nodes.value.value) >= 1 << total {
            let message = format!("there are only {total} nodes");
            return Err(Diagnostic::error(
                code::BAD_VALUE,
                nodes.value.span,
                message,
            ));
        }
        Ok(Self {
            nodes,
            total,
            seed: arguments.need(&SEED)?.value.value,
        })
    }

    fn print(&self, line: &mut Line) {
        line.option(self.nodes.negated, "--cluster-local-nodemask");
        line.word(format!("{:#010x}", self.nodes.value.value));
        line.word("--cluster-total-nodes");
        line.word(self.total);
        line.word("--cluster-hash-seed");
        line.word(format!("{:#010x}", self.seed));
    }

    fn list(&self, line: &mut Listing<'_>) {
        let Self { nodes, total, seed } = self;
        let (sign, nodes) = (sign(nodes.negated), nodes.value.value);
        line.word(format_args!(
            "cluster {sign}node_mask={nodes:#010x} total_nodes={total} hash_seed={seed:#010x}"
        ));
    }
}

/// The number of a node, or how many there are.
fn node(value: &Value<'_>) -> Result<u32, Problem> {
    integer(value.word(0), NODES)
        .and_then(|node| u32::try_from(node).ok())
        .filter(|&node| node != 0)
        .ok_or_else(|| Problem::new(format!("nodes are numbers from 1 to {NODES}")))
}
