//! What programs tell of packets: the records that they write to a ring, and what becomes of those.
//!
//! A program writes facts only ([`record`]). Whose they are, and what the user wants to be told, is
//! found in the text of the rulesets that lies beside the program ([`book`]); the words are put together
//! here as the kernel puts them ([`line`](mod@line)).

mod audit;
pub mod book;
pub mod line;
pub mod pcap;
pub mod record;
