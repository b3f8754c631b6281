//! `-j NFQUEUE`: user space decides about the packet (libxt_NFQUEUE, xt_NFQUEUE.c).

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::value::number_of;

/// The `NFQUEUE` target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Nfqueue {
    /// The queues that the packets are divided among.
    pub queues: Queues,
    /// `--queue-bypass`: the packet is accepted when nobody listens, else it is dropped.
    pub bypass: bool,
    /// `--queue-cpu-fanout`: the queue is chosen by processor, else by a hash of the addresses.
    pub cpu_fanout: bool,
}

/// An inclusive range of queue numbers, not all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Queues {
    /// First queue.
    pub first: u16,
    /// Last queue, not below the first.
    pub last: u16,
}

static NUM: Opt<Queues> = Opt::new(&["queue-num"], |value| {
    let number = number_of(value.word(0))?;
    Ok(Queues {
        first: number,
        last: number,
    })
});
static BALANCE: Opt<Queues> = Opt::new(&["queue-balance"], balance);
static BYPASS: Opt<()> = switch(&["queue-bypass"]);
static CPU_FANOUT: Opt<()> = switch(&["queue-cpu-fanout"]);

impl Extension for Nfqueue {
    const NAME: &'static str = "NFQUEUE";
    const OPTIONS: &'static [&'static OptionSpec] =
        &[&NUM.spec, &BALANCE.spec, &BYPASS.spec, &CPU_FANOUT.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(&[&NUM.spec, &BALANCE.spec])?;
        let number = arguments.get(&NUM)?;
        let balance = arguments.get(&BALANCE)?;
        let cpu_fanout = arguments.has(&CPU_FANOUT);
        if cpu_fanout && balance.is_none() {
            return Err(arguments
                .error(
                    code::MISSING_OPTION,
                    "--queue-cpu-fanout needs several queues",
                )
                .with_help("add --queue-balance, as in --queue-balance 0:3"));
        }
        Ok(Self {
            queues: balance
                .or(number)
                .map_or(Queues { first: 0, last: 0 }, |given| given.value.value),
            bypass: arguments.has(&BYPASS),
            cpu_fanout,
        })
    }

    fn print(&self, line: &mut Line) {
        let Queues { first, last } = self.queues;
        if first == last {
            line.word(format!("--queue-num {first}"));
        } else {
            line.word(format!("--queue-balance {first}:{last}"));
        }
        if self.bypass {
            line.word("--queue-bypass");
        }
        if self.cpu_fanout {
            line.word("--queue-cpu-fanout");
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        let Queues { first, last } = self.queues;
        match first == last {
            true => line.word(format_args!("NFQUEUE num {first}")),
            false => line.word(format_args!("NFQUEUE balance {first}:{last}")),
        }
        if self.bypass {
            line.word("bypass");
        }
        if self.cpu_fanout {
            line.word("cpu-fanout");
        }
    }
}

/// `[first]:[last]`
fn balance(value: &Value<'_>) -> Result<Queues, Problem> {
    let word = value.word(0);
    let Some((first, last)) = word.split_once_str(":") else {
        return Err(Problem::new(format!("{:?} is no range", BStr::new(word)))
            .with_help("write two queues, as in 0:3"));
    };
    let end = |word: &[u8], default: u16| match word {
        b"" => Ok(default),
        word => number_of(word),
    };
    let (first, last) = (end(first, 0)?, end(last, u16::MAX)?);
    if first >= last {
        return Err(
            Problem::new(format!("the range {first}:{last} does not rise"))
                .with_help("use --queue-num for one queue"),
        );
    }
    if first == 0 && last == u16::MAX {
        // The kernel counts the queues in 16 bits.
        return Err(
            Problem::new("the kernel refuses a range of all 65536 queues")
                .with_help("write 0:65534 or 1:65535"),
        );
    }
    Ok(Queues { first, last })
}
