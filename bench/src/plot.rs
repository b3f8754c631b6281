//! Nanoseconds for a frame over the number of rules, as SVG.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::figures::Figures;
use crate::rules::Kind;
use crate::wire::Contestant;

/// Pixels.
const SIZE: (u32, u32) = (800, 480);

/// The lines, each with its colour.
const LINES: [(Contestant, RGBColor); 4] = [
    (Contestant::IptablesNft, RGBColor(0xc0, 0x80, 0x20)),
    (Contestant::Nft, RGBColor(0x80, 0x40, 0xa0)),
    (Contestant::IptablesLegacy, RGBColor(0xb0, 0x20, 0x30)),
    (Contestant::Ours, RGBColor(0x10, 0x60, 0xb0)),
];

/// Draws the sets of one kind that were measured behind an interface; nothing when there are fewer than two.
///
/// # Errors
/// When it cannot be drawn.
pub fn svg(figures: &Figures, kind: Kind) -> Result<Option<String>> {
    let sets = figures.wire.iter().filter(|set| set.kind == kind);
    let sets: Vec<_> = sets.collect();
    let costs = || sets.iter().flat_map(|set| &set.costs);
    let (Some(first), Some(last)) = (sets.first(), sets.last()) else {
        return Ok(None);
    };
    if first.rules == last.rules {
        return Ok(None);
    }
    let most = costs().map(|cost| cost.ns).fold(1.0, f64::max);
    let least = costs().map(|cost| cost.ns).fold(most, f64::min);
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        let across = (first.rules as f64..last.rules as f64).log_scale();
        let up = (least / 2.0..most * 2.0).log_scale();
        let drawn = (|| {
            area.fill(&WHITE)?;
            let mut chart = ChartBuilder::on(&area)
                .margin(12)
                .x_label_area_size(40)
                .y_label_area_size(72)
                .caption(
                    format!("A frame dropped by rules of the kind {kind}"),
                    ("sans-serif", 18),
                )
                .build_cartesian_2d(across, up)?;
            chart
                .configure_mesh()
                .light_line_style(TRANSPARENT)
                .x_desc("rules")
                .y_desc("ns")
                .x_label_formatter(&|rules| format!("{rules:.0}"))
                .y_label_formatter(&|ns| format!("{ns:.0}"))
                .draw()?;
            for (contestant, colour) in LINES {
                let points = sets.iter().filter_map(|set| {
                    let mut costs = set.costs.iter();
                    let cost = costs.find(|cost| cost.contestant == contestant)?;
                    Some((set.rules as f64, cost.ns))
                });
                let points: Vec<(f64, f64)> = points.collect();
                let line = LineSeries::new(points, colour.stroke_width(2)).point_size(3);
                chart
                    .draw_series(line)?
                    .label(contestant.to_string())
                    .legend(move |(x, y)| {
                        PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2))
                    });
            }
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperLeft)
                .background_style(WHITE)
                .border_style(BLACK)
                .draw()?;
            area.present()
        })();
        drawn.map_err(|error| anyhow!("cannot draw: {error}"))?;
    }
    Ok(Some(text))
}
