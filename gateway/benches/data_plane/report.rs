//! What was measured: a table on stdout as it comes, and everything as JSON.

use anyhow::Context as _;
use indicatif::ProgressBar;
use serde::Serialize;

use crate::machine::Machine;
use crate::options::Options;
use crate::plot;
use crate::results::{progress, write_json};
use crate::series::Compared;
use crate::text::{grouped, significant};

/// Changes when the JSON changes in a way that its readers have to know.
const VERSION: u32 = 1;

/// With `--brief`, only what is so many times as much as wanted is missed.
const BRIEF_LENIENCE: f64 = 2.0;

/// A comparison with the floor.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    name: String,
    unit: &'static str,
    #[serde(flatten)]
    compared: Compared,
    wanted: f64,
    met: bool,
    /// Messages a second, where they were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_per_s: Option<f64>,
}

/// A result without a floor.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Absolute {
    name: &'static str,
    unit: &'static str,
    value: f64,
    wanted: f64,
    met: bool,
}

/// A comparison beside more and more of something.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Growth {
    pub(crate) name: &'static str,
    /// What there is more and more of.
    pub(crate) axis: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) points: Vec<Point>,
}

/// One step of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) count: usize,
    #[serde(flatten)]
    pub(crate) compared: Compared,
}

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    version: u32,
    machine: Machine,
    gateway: String,
    gateway_args: &'a str,
    rounds: u32,
    seconds: f64,
    work: Vec<Line>,
    idle: Vec<Absolute>,
    growth: Vec<Growth>,
    #[serde(skip)]
    options: &'a Options,
    /// What is being done, on stderr, if that is a terminal.
    #[serde(skip)]
    pub(crate) bar: ProgressBar,
}

impl Line {
    pub(crate) fn new(
        name: String,
        unit: &'static str,
        compared: Compared,
        wanted: f64,
        rate_per_s: Option<f64>,
    ) -> Self {
        let met = compared.ratio.median <= wanted;
        Self { name, unit, compared, wanted, met, rate_per_s }
    }
}

impl Absolute {
    pub(crate) fn new(name: &'static str, unit: &'static str, value: f64, wanted: f64) -> Self {
        Self { name, unit, value, wanted, met: value <= wanted }
    }
}

impl<'a> Report<'a> {
    pub(crate) fn new(options: &'a Options) -> Self {
        Self {
            version: VERSION,
            machine: Machine::here(),
            gateway: options.gateway.gateway.display().to_string(),
            gateway_args: &options.gateway.gateway_args,
            rounds: options.rounds(),
            seconds: options.turn().as_secs_f64(),
            work: Vec::new(),
            idle: Vec::new(),
            growth: Vec::new(),
            options,
            bar: progress(),
        }
    }

    /// What stands above all tables.
    pub(crate) fn head(&self) {
        self.print(&self.machine.to_string());
        self.print(&format!("{} rounds of {} s each, in turn; medians", self.rounds, self.seconds));
    }

    /// Prints and keeps a line.
    pub(crate) fn add(&mut self, line: Line) {
        if self.work.is_empty() {
            self.print(&format!("\n{}", head("work")));
        }
        let mark = if line.met { "✓" } else { "missed" };
        let row = compared(&line.name, &line.compared);
        self.print(&format!("{row}  ≤ {:.2}  {mark}", line.wanted));
        if let Some(rate) = line.rate_per_s {
            let (rate, rounds) = (grouped(rate as u64), line.compared.ratio.rounds.len());
            self.print(&format!("  of 100 clients, {rate} messages/s at random times; {rounds} rounds"));
        }
        self.work.push(line);
    }

    /// Prints and keeps a result that has no floor, if it is wanted.
    pub(crate) fn add_absolute(&mut self, options: &Options, result: Absolute) {
        if !options.wants(result.name) {
            return;
        }
        if self.idle.is_empty() {
            self.print(&format!("\n{:38}{:>22}{:>24}", "9,000 idle clients", "gateway", "wanted"));
        }
        let (value, unit) = (significant(result.value), result.unit);
        let mark = if result.met { "✓" } else { "missed" };
        let wanted = format!("≤ {} {unit}", result.wanted);
        self.print(&format!("{:38}{:>22}{wanted:>24}  {mark}", result.name, format!("{value} {unit}")));
        self.idle.push(result);
    }

    /// Prints and keeps a growth.
    pub(crate) fn add_growth(&mut self, growth: Growth) {
        self.print(&format!("\n{}: CPU for each round trip of 10 clients × 1, 64 B", growth.name));
        self.print(head(growth.axis).trim_end_matches("  wanted"));
        for point in &growth.points {
            self.print(&compared(&grouped(point.count as u64), &point.compared));
        }
        self.growth.push(growth);
    }

    /// Writes what is to be written. Whether everything is as it should be.
    pub(crate) fn finish(self) -> anyhow::Result<bool> {
        self.bar.finish_and_clear();
        let path = self.options.json()?;
        write_json(&path, &self)?;
        if let Some(folder) = &self.options.svg {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("--svg {} cannot be made", folder.display()))?;
            for growth in &self.growth {
                plot::draw(growth, folder)?;
            }
        }
        println!("\nall values are in {}", path.display());
        if self.options.brief {
            return Ok(self
                .work
                .iter()
                .all(|line| line.compared.ratio.median <= line.wanted * BRIEF_LENIENCE));
        }
        Ok(self.work.iter().all(|line| line.met) && self.idle.iter().all(|result| result.met))
    }

    fn print(&self, line: &str) {
        self.bar.suspend(|| println!("{}", line.trim_end()));
    }
}

fn head(first: &str) -> String {
    format!("{first:38}{:>11}{:>11}{:>8}  {:11}  wanted", "floor", "gateway", "ratio", "spread")
}

fn compared(name: &str, compared: &Compared) -> String {
    let micros = |value| format!("{} µs", significant(value));
    let (floor, gateway) = (micros(compared.floor.median), micros(compared.gateway.median));
    let (low, high) = compared.ratio.bounds();
    let spread = format!("{low:.2}–{high:.2}");
    format!("{name:38}{floor:>11}{gateway:>11}{:>8.2}  {spread:11}", compared.ratio.median)
}
