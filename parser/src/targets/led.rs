//! `-j LED`: a light that goes on for a packet; the packet goes on, too (libxt_LED, xt_LED.c).

use bstr::{BStr, BString};
use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::value::number_of;

/// The `LED` target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Led {
    /// `--led-trigger-id`, at most 16 bytes; the kernel's trigger is called `netfilter-` and this.
    pub trigger: BString,
    /// `--led-delay`, milliseconds after which the light goes out; all ones (`inf`) for never.
    pub delay: u32,
    /// `--led-always-blink`: the light goes out for a moment when a packet comes while it is on.
    pub always_blink: bool,
}

/// What `struct xt_led_info` has beside `netfilter-` and the NUL.
const TRIGGER_LIMIT: usize = 16;

static TRIGGER: Opt<BString> = Opt::new(&["led-trigger-id"], trigger);
static DELAY: Opt<u32> = Opt::new(&["led-delay"], delay);
static ALWAYS_BLINK: Opt<()> = switch(&["led-always-blink"]);

impl Extension for Led {
    const NAME: &'static str = "LED";
    const OPTIONS: &'static [&'static OptionSpec] =
        &[&TRIGGER.spec, &DELAY.spec, &ALWAYS_BLINK.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        Ok(Self {
            trigger: arguments.need(&TRIGGER)?.value.value,
            delay: arguments.get(&DELAY)?.map_or(0, |given| given.value.value),
            always_blink: arguments.has(&ALWAYS_BLINK),
        })
    }

    fn print(&self, line: &mut Line) {
        line.word("--led-trigger-id");
        line.quoted(&self.trigger, b"\"\\");
        if self.delay != 0 {
            // The tool prints the number as a signed one, which makes -1 of `inf`.
            line.word(format!("--led-delay {}", self.delay.cast_signed()));
        }
        if self.always_blink {
            line.word("--led-always-blink");
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        let mut trigger = Line::default();
        trigger.quoted(&self.trigger, b"\"\\");
        line.put(" led-trigger-id:");
        line.put_bytes(trigger.into_bytes().trim_ascii_start());
        match self.delay.cast_signed() {
            -1 => line.word("led-delay:inf"),
            delay => line.word(format_args!("led-delay:{delay}ms")),
        }
        if self.always_blink {
            line.word("led-always-blink");
        }
    }
}

fn trigger(value: &Value<'_>) -> Result<BString, Problem> {
    let word = value.word(0);
    if word.len() > TRIGGER_LIMIT {
        let message = format!("the name of the trigger is {} bytes long", word.len());
        return Err(Problem::new(message).with_help(format!("keep it to {TRIGGER_LIMIT} bytes")));
    }
    Ok(word.into())
}

fn delay(value: &Value<'_>) -> Result<u32, Problem> {
    let word = value.word(0);
    if word
        .get(..3)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"inf"))
    {
        return Ok(u32::MAX);
    }
    number_of(word).map_err(|_| {
        Problem::new(format!("{:?} is no delay", BStr::new(word)))
            .with_help("write milliseconds, or inf for ever")
    })
}
