//! What rules do that is more than a look at fields: searches in the packet's bytes, state that lasts
//! from packet to packet, effects of targets.
//!
//! A routine is said twice, like everything: [`Perform::perform`] is the reference, [`Perform::link`] gives
//! the function that does it in a program. Both stand in the file of the extension in
//! [`meaning`](crate::meaning); the table below names them.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;

use crate::addresses::AddressEntry;
use crate::emit::link::{Call, Linker};
use crate::field::Field;
use crate::meaning::{addrtype, limit};
use crate::options::DEFAULT_TICK_RATE;
use crate::packet::Packet;
use crate::semantic::CounterId;
use crate::track::table::Flows;

/// The work of a routine.
pub trait Perform: fmt::Display {
    /// Does it to a packet and gives the answer.
    fn perform(&self, packet: &mut Packet<'_>, world: &mut World) -> u32;

    /// The function that does it in a program, made when it is not there yet, and its arguments.
    fn link(&self, linker: &mut Linker<'_>) -> Call;

    /// The fields that the function reads, beyond those that are always there: addresses, length,
    /// IPv4's protocol.
    fn reads(&self) -> Vec<Field> {
        Vec::new()
    }
}

/// Makes the enumeration of all routines from their table.
macro_rules! routines {
    ($($(#[$meaning:meta])* $name:ident($kind:ty),)*) => {
        /// A routine with its constants.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum Routine {
            $($(#[$meaning])* $name($kind),)*
        }

        impl Routine {
            /// Its work.
            pub fn work(&self) -> &dyn Perform {
                match self {
                    $(Routine::$name(work) => work,)*
                }
            }
        }

        $(impl From<$kind> for Routine {
            fn from(work: $kind) -> Self {
                Routine::$name(work)
            }
        })*
    };
}

routines! {
    /// `-m addrtype`
    FindAddressType(addrtype::FindAddressType),
    /// `-m limit`
    TakeToken(limit::TakeToken),
}

impl fmt::Display for Routine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.work().fmt(f)
    }
}

/// Which match of which rule keeps a state: the rule by its counter, the match by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The rule's counter.
    pub rule: CounterId,
    /// The number of the match in the rule, from 0; targets come last.
    pub index: u16,
}

/// What the reference knows and remembers beyond a packet: clocks, chance, and the state of matches.
pub struct World {
    /// The kernel's clock of ticks, as `bpf_jiffies64` gives it.
    pub jiffies: u64,
    /// How many of them a second has.
    pub tick_rate: u32,
    /// The connections.
    pub flows: Flows,
    /// What is known of the types of addresses; nothing when a loader has told nothing.
    pub addresses: Vec<AddressEntry>,
    /// What `bpf_get_prandom_u32` will give, the next one last; zero when there is none.
    pub random: Vec<u32>,
    state: HashMap<String, Box<dyn Any>>,
}

impl Default for World {
    fn default() -> Self {
        World {
            jiffies: 0,
            tick_rate: DEFAULT_TICK_RATE,
            flows: Flows::new(),
            addresses: Vec::new(),
            random: Vec::new(),
            state: HashMap::new(),
        }
    }
}

impl World {
    /// A state by the place of its match, made at the first use.
    pub fn at<T: Default + 'static>(&mut self, place: Place) -> &mut T {
        self.named(&format!("{}:{}", place.rule.0, place.index))
    }

    /// A state by its name, for what several rules share.
    pub fn named<T: Default + 'static>(&mut self, name: &str) -> &mut T {
        let key = format!("{} {name}", std::any::type_name::<T>());
        let state = self
            .state
            .entry(key)
            .or_insert_with(|| Box::new(T::default()));
        state
            .downcast_mut()
            .expect("a type's states have the type in their name")
    }

    /// The next random number.
    pub fn random(&mut self) -> u32 {
        self.random.pop().unwrap_or(0)
    }
}
