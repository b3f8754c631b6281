//! `-m limit`: a token bucket (libxt_limit, xt_limit.c).

use serde::Serialize;

/// The `limit` match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// Ten-thousandths of a second per token (`XT_LIMIT_SCALE` 10000), as the kernel gets it.
    pub average: u32,
    /// Tokens that may be saved up.
    pub burst: u32,
}
