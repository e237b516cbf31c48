//! The growth as a picture: both lines from zero, so that a rise looks as large as it is.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use plotters::prelude::*;

use crate::report::{Growth, Point};
use crate::series::Compared;
use crate::text::grouped;

const SIZE: (u32, u32) = (800, 450);
const FONT: (&str, u32) = ("sans-serif", 15);
/// Colours that are told apart by everybody.
const FLOOR: RGBColor = RGBColor(0xe6, 0x9f, 0x00);
const GATEWAY: RGBColor = RGBColor(0x00, 0x72, 0xb2);

/// Draws one into a folder, as a file of its name.
pub(crate) fn draw(growth: &Growth, folder: &Path) -> anyhow::Result<()> {
    let path = folder.join(format!("{}.svg", growth.name.replace(' ', "-")));
    let drawn = try_draw(growth, &path).map_err(|error| anyhow!("{error}"));
    drawn.with_context(|| format!("--svg: {} cannot be drawn", path.display()))
}

fn try_draw(growth: &Growth, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let medians = |pick: fn(&Compared) -> f64| {
        growth.points.iter().map(move |Point { count, compared }| (*count as f64, pick(compared)))
    };
    let lines = [
        ("floor", FLOOR, medians(|compared| compared.floor.median)),
        ("gateway", GATEWAY, medians(|compared| compared.gateway.median)),
    ];
    let xs = || growth.points.iter().map(|point| point.count as f64);
    let (first, last) = (xs().fold(f64::INFINITY, f64::min), xs().fold(0.0, f64::max));
    let highest = lines.iter().flat_map(|(.., points)| points.clone()).map(|(_, y)| y).fold(0.0, f64::max);

    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(20)
        .margin_right(50)
        .x_label_area_size(50)
        .y_label_area_size(60)
        .build_cartesian_2d((first..last * 1.05).log_scale(), 0.0..highest * 1.2)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .max_light_lines(0)
        .x_desc(growth.axis)
        .y_desc("CPU for each round trip, µs")
        .x_label_formatter(&|x| grouped(x.round() as u64))
        .y_label_formatter(&|y| format!("{y:.1}"))
        .label_style(FONT)
        .axis_desc_style(FONT)
        .draw()?;
    for (name, colour, points) in lines {
        chart.draw_series(points.clone().map(|point| Circle::new(point, 4, colour.filled())))?;
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE)
        .border_style(BLACK)
        .label_font(FONT)
        .draw()?;
    root.present()?;
    Ok(())
}
