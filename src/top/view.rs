//! Drawing a board.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row, Table};

use super::board::Board;

/// The most protocols that are shown, and sources.
const PROTOCOLS: u16 = 6;

/// Draws everything. Tells the board how much fits.
pub fn draw(frame: &mut Frame<'_>, board: &mut Board) {
    let verdicts = board.verdicts();
    let drops = board.drops();
    let protocols = (verdicts.len().max(drops.len()) as u16).min(PROTOCOLS);
    let [head, rules, below, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(2),
        Constraint::Length(protocols + 2),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let rows = board.rows();
    board.page = usize::from(rules.height.saturating_sub(1)).max(1);
    board.scrolled = board.scrolled.min(rows.len().saturating_sub(board.page));

    let title = format!("{} rules and policies by {}", rows.len(), board.sort.name());
    frame.render_widget(Line::from(title).bold(), head);
    draw_rules(frame, board, rules, &rows);

    let header = Row::new(["protocol", "accepted/s", "dropped/s"]).style(Style::new().reversed());
    let mut by_rate: Vec<_> = verdicts.into_iter().collect();
    by_rate.sort_by(|(_, a), (_, b)| {
        let rate = |it: &super::board::Verdicts| it.accepted + it.dropped;
        rate(b).total_cmp(&rate(a))
    });
    let lines = by_rate.into_iter().map(|(protocol, rates)| {
        Row::new([
            Cell::from(protocol),
            right(number(rates.accepted)),
            right(number(rates.dropped)),
        ])
    });
    let widths = [
        Constraint::Length(12),
        Constraint::Length(12),
        Constraint::Length(12),
    ];
    let [verdicts, sources] =
        Layout::horizontal([Constraint::Length(39), Constraint::Fill(1)]).areas(below);
    frame.render_widget(Table::new(lines, widths).header(header), verdicts);
    draw_sources(frame, sources, drops);

    let keys = match (board.is_typing, board.filter.as_str()) {
        (true, filter) => format!("show only: {filter}_"),
        (false, "") => "q end  s sort  / filter  z zero".to_owned(),
        (false, filter) => format!("q end  s sort  / filter ({filter})  Esc show all  z zero"),
    };
    frame.render_widget(Line::from(keys), foot);
}

/// What is dropped, by the source that rules name.
fn draw_sources(frame: &mut Frame<'_>, area: Rect, drops: Vec<(String, f64)>) {
    let header = Row::new(["dropped/s", "source"]).style(Style::new().reversed());
    let lines = drops
        .into_iter()
        .map(|(source, rate)| Row::new([right(number(rate)), Cell::from(source)]));
    let widths = [Constraint::Length(12), Constraint::Fill(1)];
    frame.render_widget(Table::new(lines, widths).header(header), area);
}

fn draw_rules(frame: &mut Frame<'_>, board: &Board, area: Rect, rows: &[super::board::Row]) {
    let header = Row::new([
        right("packets/s".to_owned()),
        right("bytes/s".to_owned()),
        right("packets".to_owned()),
        Cell::from("place"),
        Cell::from("rule"),
    ])
    .style(Style::new().reversed());
    let shown = &rows[board.scrolled..];
    let place = shown.iter().map(|row| row.place.chars().count());
    let place = place.max().unwrap_or(0).clamp(5, 48) as u16;
    let lines = shown.iter().map(|row| {
        Row::new([
            right(number(row.rate)),
            right(number(row.byte_rate)),
            right(row.total.packets.to_string()),
            Cell::from(row.place.clone()),
            Cell::from(row.text.clone()),
        ])
    });
    let widths = [
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(12),
        Constraint::Length(place),
        Constraint::Fill(1),
    ];
    frame.render_widget(Table::new(lines, widths).header(header), area);
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).right_aligned())
}

/// A rate with three or four digits: `7.5`, `123`, `12.3k`, `4.56M`.
fn number(rate: f64) -> String {
    let (value, unit) = match rate {
        ..1e4 => (rate, ""),
        ..1e7 => (rate / 1e3, "k"),
        ..1e10 => (rate / 1e6, "M"),
        _ => (rate / 1e9, "G"),
    };
    match value {
        0.0 => "0".to_owned(),
        ..100.0 => format!("{value:.1}{unit}"),
        _ => format!("{value:.0}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::board::tests::board;
    use super::*;

    fn drawn(board: &mut Board, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal.draw(|frame| draw(frame, board)).expect("it draws");
        let buffer = terminal.backend().buffer().clone();
        let cells: Vec<&str> = buffer.content().iter().map(|cell| cell.symbol()).collect();
        cells
            .chunks(usize::from(width))
            .map(|line| line.concat().trim_end().to_owned())
            .collect()
    }

    #[test]
    fn rules_verdicts_and_keys_are_drawn() {
        let lines = drawn(&mut board(), 95, 14);
        assert_eq!(
            lines,
            [
                "6 rules and policies by packets per second",
                " packets/s    bytes/s      packets place              rule",
                "      10.0       1000           30 IPv4 filter 2      -A INPUT -s 10.0.0.0/8 -p udp -j DROP",
                "       2.0        200         1004 IPv4 filter 1      -A INPUT -p tcp -j ACCEPT",
                "         0          0            0 IPv4 filter policy -P INPUT DROP",
                "         0          0            0 IPv4 filter 3      -A INPUT -j LOG",
                "         0          0            0 IPv4 filter policy -P FORWARD ACCEPT",
                "         0          0            0 IPv4 filter policy -P OUTPUT ACCEPT",
                "protocol     accepted/s   dropped/s    dropped/s    source",
                "udp                     0         10.0         10.0 10.0.0.0/8",
                "tcp                   2.0            0",
                "any                     0            0",
                "",
                "q end  s sort  / filter  z zero",
            ]
        );
    }

    #[test]
    fn a_small_screen_scrolls_no_further_than_the_last_rule() {
        let mut board = board();
        board.scrolled = 100;
        let lines = drawn(&mut board, 90, 9);
        assert!(lines[2].contains("-P OUTPUT ACCEPT"), "{lines:?}");
        // Any size is drawn.
        for (width, height) in [(1, 1), (200, 2), (3, 50)] {
            drawn(&mut board, width, height);
        }
    }

    #[test]
    fn rates_have_few_digits() {
        for (rate, text) in [
            (0.0, "0"),
            (7.54, "7.5"),
            (123.4, "123"),
            (12_345.0, "12.3k"),
            (4_560_000.0, "4560k"),
            (45_600_000.0, "45.6M"),
        ] {
            assert_eq!(number(rate), text);
        }
    }
}
