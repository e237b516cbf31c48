//! Memory, open files and sessions over time, one above the other.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use plotters::prelude::*;

use crate::samples::{Sample, Samples};

const SIZE: (u32, u32) = (900, 720);
const FONT: (&str, u32) = ("sans-serif", 15);
const LINE: RGBColor = RGBColor(0x00, 0x72, 0xb2);

/// More points than that cannot be told apart; each is the mean of its time.
const POINTS: usize = 800;

/// What is drawn: the text at the axis, and the value.
type Panel = (&'static str, fn(&Sample) -> f64);

const PANELS: [Panel; 3] = [
    ("memory (RSS), MiB", |sample| sample.rss_bytes / 1024.0 / 1024.0),
    ("open files", |sample| sample.files as f64),
    ("sessions", |sample| sample.sessions as f64),
];

/// Draws `soak.svg` into a folder.
pub(crate) fn draw(samples: &Samples, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("--svg {} cannot be made", folder.display()))?;
    let path = folder.join("soak.svg");
    let drawn = try_draw(samples, &path).map_err(|error| anyhow!("{error}"));
    drawn.with_context(|| format!("--svg: {} cannot be drawn", path.display()))?;
    println!("\ndrawn in {}", path.display());
    Ok(())
}

fn try_draw(samples: &Samples, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let all: Vec<Sample> =
        std::iter::once(samples.first).chain(samples.all.iter().copied()).chain(samples.last).collect();
    let whole = all.last().map_or(1.0, |sample| sample.at.as_secs_f64());
    let (unit, seconds) = match whole {
        ..300.0 => ("seconds", 1.0),
        ..7200.0 => ("minutes", 60.0),
        _ => ("hours", 3600.0),
    };
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    for ((name, value), area) in PANELS.into_iter().zip(root.split_evenly((PANELS.len(), 1))) {
        let chunk = all.len().div_ceil(POINTS);
        let points: Vec<(f64, f64)> = all.chunks(chunk).map(|chunk| mean(chunk, seconds, value)).collect();
        let highest = points.iter().map(|(_, y)| *y).fold(1.0, f64::max);
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .margin_right(30)
            .x_label_area_size(45)
            .y_label_area_size(65)
            .build_cartesian_2d(0.0..whole / seconds, 0.0..highest * 1.15)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .max_light_lines(0)
            .y_labels(5)
            .x_desc(format!("time, {unit}"))
            .y_desc(name)
            .x_label_formatter(&|x| format!("{x:.4}").trim_end_matches('0').trim_end_matches('.').to_owned())
            .y_label_formatter(&|y| format!("{y:.0}"))
            .label_style(FONT)
            .axis_desc_style(FONT)
            .draw()?;
        chart.draw_series(LineSeries::new(points, LINE.stroke_width(1)))?;
    }
    root.present()?;
    Ok(())
}

fn mean(samples: &[Sample], seconds: f64, value: fn(&Sample) -> f64) -> (f64, f64) {
    let mean = |value: &dyn Fn(&Sample) -> f64| samples.iter().map(value).sum::<f64>() / samples.len() as f64;
    (mean(&|sample| sample.at.as_secs_f64() / seconds), mean(&value))
}
