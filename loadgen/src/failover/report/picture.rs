//! The run over time, as an SVG picture: answers by gateway, virtual connections without service, connects.
//!
//! It is drawn in the colours of a light page. A style sheet inside of it replaces them on a dark one.

use std::time::Duration;

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::super::failures::Failure;
use super::super::record::{BIN, Record};

const WIDTH: u32 = 960;
const HEIGHT: u32 = 760;
/// Where marks are written, above the panels.
const HEAD: i32 = 84;
/// Marks that are close to each other are written beneath each other.
const ROWS: usize = 4;
/// Where gateways are named, beneath them.
const FOOT: u32 = 26;
const LEFT: u32 = 70;
const MARGIN: i32 = 14;
const FONT: (&str, u32) = ("sans-serif", 14);

/// More points than that cannot be told apart.
const POINTS: usize = 900;

/// Of a light page, and of a dark one.
type Hue = (RGBColor, RGBColor);

const PAPER: Hue = (RGBColor(0xFF, 0xFF, 0xFF), RGBColor(0x0D, 0x11, 0x17));
const INK: Hue = (RGBColor(0x1F, 0x23, 0x28), RGBColor(0xE6, 0xED, 0xF3));
const GRID: Hue = (RGBColor(0xD1, 0xD9, 0xE0), RGBColor(0x3D, 0x44, 0x4D));
const MARK: Hue = (RGBColor(0x81, 0x8B, 0x98), RGBColor(0x91, 0x98, 0xA1));
const OUT: Hue = (RGBColor(0xD5, 0x5E, 0x01), RGBColor(0xF0, 0x88, 0x3E));

/// Of gateways, one after the other; everybody can tell them apart (Okabe and Ito).
const GATEWAYS: [Hue; 6] = [
    (RGBColor(0x00, 0x72, 0xB2), RGBColor(0x4B, 0xA3, 0xDB)),
    (RGBColor(0xE6, 0x9F, 0x00), RGBColor(0xE6, 0x9F, 0x01)),
    (RGBColor(0x00, 0x9E, 0x73), RGBColor(0x26, 0xB5, 0x8C)),
    (RGBColor(0xCC, 0x79, 0xA7), RGBColor(0xD9, 0x8B, 0xB5)),
    (RGBColor(0x56, 0xB4, 0xE9), RGBColor(0x7C, 0xC6, 0xF0)),
    (RGBColor(0xB0, 0xA0, 0x20), RGBColor(0xF0, 0xE4, 0x42)),
];

type Drawn<T> = Result<T, Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// The picture. `pace` is how often each virtual connection asked.
///
/// # Errors
///
/// If it cannot be drawn.
pub fn picture(record: &Record, failures: &[Failure], pace: Duration) -> anyhow::Result<String> {
    let mut svg = String::new();
    draw(record, failures, pace, &mut svg)
        .map_err(|error| anyhow!("the picture cannot be drawn: {error}"))?;
    let end = svg.find('>').map_or(0, |end| end + 1);
    svg.insert_str(end, &style());
    Ok(svg)
}

/// Colours of attributes are replaced where the page is dark.
fn style() -> String {
    let hues = [PAPER, INK, GRID, MARK, OUT].into_iter().chain(GATEWAYS);
    let rules = hues.map(|(light, dark)| {
        let hex = |RGBColor(red, green, blue): RGBColor| format!("#{red:02X}{green:02X}{blue:02X}");
        let (light, dark) = (hex(light), hex(dark));
        format!(r#"[fill="{light}"]{{fill:{dark}}}[stroke="{light}"]{{stroke:{dark}}}"#)
    });
    format!("\n<style>@media (prefers-color-scheme: dark) {{{}}}</style>", rules.collect::<String>())
}

fn draw(record: &Record, failures: &[Failure], pace: Duration, svg: &mut String) -> Drawn<()> {
    let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    root.fill(&PAPER.0)?;
    let (head, panels) = root.split_vertically(HEAD);
    let seconds = record.length_ns as f64 / 1e9;
    write_marks(&head, record, seconds)?;
    let (panels, foot) = panels.split_vertically(HEIGHT - HEAD as u32 - FOOT);
    name_gateways(&foot, record)?;
    let panels = panels.split_evenly((3, 1));
    let series = Series::of(record, pace);
    answers(&panels[0], record, &series, seconds)?;
    without_service(&panels[1], record, failures, &series, seconds)?;
    connects(&panels[2], record, &series, seconds)?;
    root.present()?;
    Ok(())
}

/// What is drawn, by so many bins a point.
struct Series {
    /// By gateway, a second.
    answers: Vec<Vec<f64>>,
    without_service: Vec<f64>,
    /// By gateway, a second.
    connects: Vec<Vec<f64>>,
    /// Seconds of a point.
    step: f64,
}

impl Series {
    fn of(record: &Record, pace: Duration) -> Self {
        let bins = record.bins();
        let chunk = bins.div_ceil(POINTS).max(1);
        let per_second = 1.0 / BIN.as_secs_f64();
        let floats = |series: &[u32]| series.iter().copied().map(f64::from).collect::<Vec<_>>();
        let turn = (pace.div_duration_f64(BIN).ceil() as usize).clamp(1, bins.max(1));
        let mean = |series: &Vec<u32>| {
            smooth(&floats(series), turn)
                .chunks(chunk)
                .map(|part| part.iter().sum::<f64>() / part.len() as f64 * per_second)
                .collect()
        };
        // What lasts for less than a point must not vanish.
        let most = |series: &[u32], factor: f64| {
            floats(series)
                .chunks(chunk)
                .map(|part| part.iter().copied().fold(0.0, f64::max) * factor)
                .collect()
        };
        Self {
            answers: record.answers_by_bin().iter().map(mean).collect(),
            without_service: most(&record.without_service(), 1.0),
            connects: record.connects_by_bin().iter().map(|series| most(series, per_second)).collect(),
            step: BIN.as_secs_f64() * chunk as f64,
        }
    }

    /// Each value where it begins and where it ends.
    fn steps(&self, values: &[f64]) -> Vec<(f64, f64)> {
        let mut end = 0;
        let runs = values.chunk_by(|before, after| before == after);
        let edges = runs.flat_map(|run| {
            let begin = end;
            end += run.len();
            [begin, end].map(|point| (point as f64 * self.step, run[0]))
        });
        edges.collect()
    }
}

/// The mean of so many values up to each: in that time everybody asks once, whoever asks when.
fn smooth(values: &[f64], turn: usize) -> Vec<f64> {
    let upto = |end: usize| &values[(end + 1).saturating_sub(turn)..=end];
    (0..values.len()).map(|end| upto(end).iter().sum::<f64>() / upto(end).len() as f64).collect()
}

/// A panel with axes, and a line for each mark.
fn panel<'a, 'b>(
    area: &'a Area<'b>,
    record: &Record,
    seconds: f64,
    highest: f64,
    name: &str,
) -> Drawn<Chart<'a, 'b>> {
    let highest = highest.max(1.0) * 1.2;
    let mut chart = ChartBuilder::on(area)
        .margin(MARGIN)
        .margin_top(4)
        .margin_bottom(2)
        .x_label_area_size(38)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(0.0..seconds, 0.0..highest)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .max_light_lines(0)
        .bold_line_style(GRID.0)
        .axis_style(MARK.0)
        .y_labels(5)
        .x_labels(13)
        .x_desc("time, s")
        .y_desc(name)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .label_style(FONT.into_font().color(&INK.0))
        .axis_desc_style(FONT.into_font().color(&INK.0))
        .draw()?;
    let lines = record.marks.iter().map(|mark| {
        let x = mark.at_ns as f64 / 1e9;
        PathElement::new([(x, 0.0), (x, highest)], MARK.0.stroke_width(1))
    });
    chart.draw_series(lines)?;
    Ok(chart)
}

/// Above the panels, in rows, so that none covers the next.
fn write_marks(head: &Area<'_>, record: &Record, seconds: f64) -> Drawn<()> {
    let left = f64::from(MARGIN) + f64::from(LEFT);
    let width = f64::from(WIDTH) - left - f64::from(MARGIN);
    for (number, mark) in record.marks.iter().enumerate() {
        let x = (left + width * (mark.at_ns as f64 / 1e9 / seconds.max(1e-9))) as i32;
        let y = HEAD - 18 - 17 * (number % ROWS) as i32;
        // Who is near the right edge is written to its left.
        let to_the_left = x > WIDTH as i32 * 4 / 5;
        let (anchor, dx) = if to_the_left { (HPos::Right, -4) } else { (HPos::Left, 4) };
        let style = ("sans-serif", 13).into_font().color(&INK.0).pos(Pos::new(anchor, VPos::Center));
        head.draw(&PathElement::new([(x, y), (x, HEAD)], MARK.0.stroke_width(1)))?;
        head.draw_text(&mark.text, &style, (x + dx, y))?;
    }
    Ok(())
}

/// Beneath the panels, with their colours.
fn name_gateways(foot: &Area<'_>, record: &Record) -> Drawn<()> {
    let style = FONT.into_font().color(&INK.0).pos(Pos::new(HPos::Left, VPos::Center));
    let width = (WIDTH as i32 - MARGIN - LEFT as i32) / record.gateways.len().max(4) as i32;
    for (gateway, name) in record.gateways.iter().enumerate() {
        let x = MARGIN + LEFT as i32 + width * gateway as i32;
        foot.draw(&Rectangle::new([(x, 5), (x + 14, 15)], hue(gateway).filled()))?;
        foot.draw_text(name, &style, (x + 20, 10))?;
    }
    Ok(())
}

fn hue(gateway: usize) -> RGBColor {
    GATEWAYS[gateway % GATEWAYS.len()].0
}

fn answers(area: &Area<'_>, record: &Record, series: &Series, seconds: f64) -> Drawn<()> {
    let points = series.without_service.len();
    let sums = (0..points).map(|point| series.answers.iter().map(|answers| answers[point]).sum());
    let mut chart = panel(area, record, seconds, sums.fold(0.0, f64::max), "answers a second")?;
    let mut below = vec![0.0; points];
    for (gateway, answers) in series.answers.iter().enumerate() {
        let above: Vec<f64> = below.iter().zip(answers).map(|(below, answers)| below + answers).collect();
        let edge: Vec<_> =
            series.steps(&above).into_iter().chain(series.steps(&below).into_iter().rev()).collect();
        chart.draw_series([Polygon::new(edge, hue(gateway).filled())])?;
        below = above;
    }
    Ok(())
}

fn without_service(
    area: &Area<'_>,
    record: &Record,
    failures: &[Failure],
    series: &Series,
    seconds: f64,
) -> Drawn<()> {
    let highest = series.without_service.iter().copied().fold(0.0, f64::max);
    let mut chart = panel(area, record, seconds, highest, "without service")?;
    let edge = [(0.0, 0.0)]
        .into_iter()
        .chain(series.steps(&series.without_service))
        .chain([(series.without_service.len() as f64 * series.step, 0.0)]);
    chart.draw_series([Polygon::new(edge.collect::<Vec<_>>(), OUT.0.filled())])?;
    // The numbers that somebody looks for, above where they come from.
    let style = ("sans-serif", 12).into_font().color(&INK.0).pos(Pos::new(HPos::Left, VPos::Bottom));
    for failure in failures {
        let [from, to] =
            [failure.from_ns, failure.to_ns.unwrap_or(record.length_ns)].map(|ns| ns as f64 / 1e9);
        if failure.outage.count() == 0 {
            continue;
        }
        let points = [from, to].map(|seconds| (seconds / series.step) as usize);
        let its = series.without_service.iter().take(points[1] + 1).skip(points[0]);
        let height = its.copied().fold(0.0, f64::max) + highest * 0.03;
        let p99 = failure.outage.percentile(99.0) as f64 / 1e9;
        chart.draw_series([Text::new(format!("p99 {p99:.2} s"), (from, height), style.clone())])?;
    }
    Ok(())
}

fn connects(area: &Area<'_>, record: &Record, series: &Series, seconds: f64) -> Drawn<()> {
    let highest = series.connects.iter().flatten().copied().fold(0.0, f64::max);
    let mut chart = panel(area, record, seconds, highest, "connects a second")?;
    for (gateway, connects) in series.connects.iter().enumerate() {
        chart.draw_series(LineSeries::new(series.steps(connects), hue(gateway).stroke_width(2)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn everything_is_in_the_picture() {
        let svg = picture(&sample::record(), &sample::failures(), sample::plan().pace()).unwrap();
        for words in [
            "answers a second",
            "without service",
            "connects a second",
            "time, s",
            "10.0.0.1:7010",
            "10.0.0.3:7010",
            "gw1 SIGKILL",
            "gw2 cut off",
            "p99 0.70 s",
        ] {
            assert!(svg.contains(words), "{words:?} is not in the picture");
        }
        assert_eq!(svg.matches("<polygon").count(), 4, "three gateways, and those without service");
    }

    #[test]
    fn answers_do_not_fall_where_the_run_ends() {
        let mut record = Record { length_ns: 1_003_000_000, answers: vec![vec![5; 10]], ..sample::record() };
        record.answers[0].push(0);
        let series = Series::of(&record, Duration::from_millis(100));
        assert_eq!(series.answers, [[50.0; 10]]);
        assert_eq!((series.without_service.len(), series.connects[0].len()), (10, 10));
    }

    #[test]
    fn every_colour_has_one_for_dark_pages() {
        let svg = picture(&sample::record(), &sample::failures(), sample::plan().pace()).unwrap();
        let (style, drawn) = svg.split_once("</style>").unwrap();
        for attribute in ["fill=\"#", "stroke=\"#"] {
            for part in drawn.split(attribute).skip(1) {
                let hex = &part[..6];
                assert!(style.contains(&format!("{attribute}{hex}\"]")), "{attribute}{hex} has none");
            }
        }
    }

    #[test]
    fn who_asks_when_makes_no_teeth() {
        assert_eq!(smooth(&[4.0, 8.0, 4.0, 8.0, 0.0, 0.0], 2), [4.0, 6.0, 6.0, 6.0, 4.0, 0.0]);
        assert_eq!(smooth(&[4.0, 8.0], 1), [4.0, 8.0]);
    }

    #[test]
    fn a_run_in_which_nothing_happened_can_be_drawn() {
        picture(&Record::default(), &[], Duration::from_millis(200)).unwrap();
    }
}
