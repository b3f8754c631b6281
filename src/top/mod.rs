//! `top`: what rules meet now, drawn again and again.

mod board;
mod view;

use std::io::{IsTerminal, stdout};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use crate::census;
use crate::failure::Usage;
use crate::show::{InForce, Selection};
use board::{Board, Reading, Wish};

const KEYS: &str = "\
Keys:
  s        sort by packets per second, by packets, or as the rules stand
  /        show only rules with some words; Enter ends them, Esc forgets them
  z        set the counters to zero
  Up Down  scroll; PageUp, PageDown and Home, too
  q        end

Verdicts by protocol are those of rules and policies of the filter table, by the protocol that a rule names.
What a program drops is not counted by source.";

/// Shows the rules with most packets per second, and verdicts by protocol
///
/// Without a place: all that is attached.
#[derive(Debug, Args)]
#[command(after_help = KEYS)]
pub struct Arguments {
    /// Look again after so many seconds
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=3600))]
    interval: u32,
    #[command(flatten)]
    selection: Selection,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if !stdout().is_terminal() {
        let message = "top draws on a terminal; `ipt2bpf metrics` and `ipt2bpf show -c` print";
        return Err(Usage(message.into()).into());
    }
    // What cannot be read is told before the screen is cleared.
    let first = read(&arguments.selection)?;
    let mut terminal = ratatui::try_init()?;
    let result = watch(&mut terminal, arguments, first);
    ratatui::restore();
    result
}

/// Draws until the user has enough.
fn watch(terminal: &mut DefaultTerminal, arguments: &Arguments, first: Vec<Reading>) -> Result<()> {
    let interval = Duration::from_secs(arguments.interval.into());
    let mut board = Board::new(first);
    let mut seen = Instant::now();
    loop {
        terminal.draw(|frame| view::draw(frame, &mut board))?;
        while event::poll(interval.saturating_sub(seen.elapsed()))? {
            if let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
            {
                match board.press(key) {
                    Wish::End => return Ok(()),
                    Wish::Zero => {
                        for InForce { maps, .. } in arguments.selection.all_objects()? {
                            maps.zero_counters()?;
                        }
                        board.forget(read(&arguments.selection)?);
                        seen = Instant::now();
                    }
                    Wish::Nothing => {}
                }
            }
            terminal.draw(|frame| view::draw(frame, &mut board))?;
        }
        board.update(read(&arguments.selection)?, seen.elapsed());
        seen = Instant::now();
    }
}

/// The counters of everything that is wanted.
fn read(selection: &Selection) -> Result<Vec<Reading>> {
    let mut readings = Vec::new();
    for InForce { place, maps, .. } in selection.all_objects()? {
        let (rulesets, layout) = census::rulesets(&maps)?;
        readings.push(Reading {
            place,
            counters: census::counters(&maps, &layout)?,
            entries: census::entries(&rulesets),
        });
    }
    Ok(readings)
}
