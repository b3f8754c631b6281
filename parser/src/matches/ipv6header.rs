//! `-m ipv6header`: which extension headers an IPv6 packet has (libip6t_ipv6header,
//! ip6t_ipv6header.c).

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::{Listing, sign};
use crate::print::Line;
use crate::ruleset::{Family, Negatable};

/// The `ipv6header` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ipv6Header {
    /// `--header`; at least one.
    pub headers: Negatable<Headers>,
    /// `--soft`: the packet has these headers among others. Without it, it has just these.
    pub soft: bool,
}

/// A set of headers, in the order in which save prints them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Headers {
    /// Hop-by-hop options, 0.
    pub hop_by_hop: bool,
    /// Destination options, 60.
    pub destination_options: bool,
    /// Routing, 43.
    pub routing: bool,
    /// Fragment, 44.
    pub fragment: bool,
    /// Authentication, 51.
    pub authentication: bool,
    /// Encapsulating security payload, 50.
    pub esp: bool,
    /// No next header, 59.
    pub none: bool,
    /// A protocol above IPv6, for which the tool has the number 255.
    pub protocol: bool,
}

/// The names of each header: first that of save, then those of the tool and of /etc/protocols, which
/// has `ip` for 0, too. The tool takes numbers only in these spellings.
const NAMES: [&[&str]; 8] = [
    &["hop-by-hop", "hop", "0", "hopopt", "HOPOPT", "ip", "IP"],
    &["ipv6-opts", "dst", "60", "IPv6-Opts"],
    &["ipv6-route", "route", "43", "IPv6-Route"],
    &["ipv6-frag", "frag", "44", "IPv6-Frag"],
    &["ah", "auth", "51", "IPSEC-AH"],
    &["esp", "50", "IPSEC-ESP"],
    &["ipv6-nonxt", "none", "59", "IPv6-NoNxt"],
    &["protocol", "prot", "255"],
];

static HEADER: Opt<Headers> = Opt::new(&["header"], headers).invertible();
static SOFT: Opt<()> = switch(&["soft"]);

impl Extension for Ipv6Header {
    const NAME: &'static str = "ipv6header";
    const FAMILY: Option<Family> = Some(Family::V6);
    const OPTIONS: &'static [&'static OptionSpec] = &[&HEADER.spec, &SOFT.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        Ok(Self {
            headers: arguments.need(&HEADER)?,
            soft: arguments.has(&SOFT),
        })
    }

    fn print(&self, line: &mut Line) {
        let mut headers = self.headers.value.value;
        let rows = headers.fields().into_iter().zip(NAMES);
        let names: Vec<&str> = rows.filter(|row| *row.0).map(|row| row.1[0]).collect();
        line.option(self.headers.negated, "--header");
        line.word(names.join(","));
        if self.soft {
            line.word("--soft");
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        let mut headers = self.headers.value.value;
        let bits = headers.bits();
        let sign = sign(self.headers.negated);
        line.word(format_args!("ipv6header flags:{sign}"));
        match line.style.numeric {
            true => line.put(format_args!("0x{bits:02X}")),
            false => {
                let rows = headers.fields().into_iter().zip(NAMES);
                let names: Vec<&str> = rows.filter(|row| *row.0).map(|row| row.1[0]).collect();
                line.put(names.join(","));
            }
        }
        if self.soft {
            line.word("soft");
        }
    }
}

impl Headers {
    /// In the order of [`NAMES`].
    /// The bits of `MASK_PROTO` and its siblings of linux/netfilter_ipv6/ip6t_ipv6header.h: the first of
    /// the fields is the highest.
    fn bits(mut self) -> u8 {
        let fields = self.fields().into_iter();
        fields.fold(0, |bits, is_set| bits << 1 | u8::from(*is_set))
    }

    fn fields(&mut self) -> [&mut bool; 8] {
        [
            &mut self.hop_by_hop,
            &mut self.destination_options,
            &mut self.routing,
            &mut self.fragment,
            &mut self.authentication,
            &mut self.esp,
            &mut self.none,
            &mut self.protocol,
        ]
    }
}

/// Names between commas; empty ones do not count.
fn headers(value: &Value<'_>) -> Result<Headers, Problem> {
    let mut headers = Headers::default();
    for name in value.word(0).split_str(",").filter(|name| !name.is_empty()) {
        let mut rows = headers.fields().into_iter().zip(NAMES);
        let row = rows.find(|row| row.1.iter().any(|it| it.as_bytes() == name));
        let Some((field, _)) = row else {
            let message = format!("{:?} is no IPv6 extension header", BStr::new(name));
            return Err(Problem::new(message)
                .with_help("the headers are hop, dst, route, frag, auth, esp, none and prot"));
        };
        *field = true;
    }
    if headers == Headers::default() {
        return Err(Problem::new("no header is named"));
    }
    Ok(headers)
}
