//! The table of `--timeseries`: comma-separated values, a line per interval, units in the names of the columns. A cell stays
//! empty where nothing was measured.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::clock::SECOND;
use crate::stats::{Interval, Times};

/// The first line.
const HEAD: &str = "from_s,to_s,due,sent,received,rate_per_s,\
    response_p50_us,response_p90_us,response_p99_us,response_p99.9_us,response_max_us,lag_p99_us,\
    errors,open_links,open_conns";

/// Writes the intervals of a run, one after the other.
pub struct Series<W> {
    writer: W,
}

impl Series<BufWriter<File>> {
    /// Begins a table in a new file.
    ///
    /// # Errors
    ///
    /// The file could not be made or written.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::new(BufWriter::new(File::create(path)?))
    }
}

impl<W: Write> Series<W> {
    /// Begins a table.
    ///
    /// # Errors
    ///
    /// Its first line could not be written.
    pub fn new(mut writer: W) -> io::Result<Self> {
        writeln!(writer, "{HEAD}")?;
        Ok(Self { writer })
    }

    /// Adds a line, and hands it over at once, so that it can be watched as it grows.
    ///
    /// # Errors
    ///
    /// It could not be written.
    pub fn write(&mut self, interval: &Interval) -> io::Result<()> {
        let seconds = |nanos: u64| nanos as f64 / SECOND as f64;
        let length = seconds(interval.to_ns.saturating_sub(interval.from_ns));
        let tally = &interval.tally;
        let rate =
            if length > 0.0 { format!("{:.1}", tally.received as f64 / length) } else { String::new() };
        write!(
            self.writer,
            "{:.3},{:.3},{},{},{},{rate}",
            seconds(interval.from_ns),
            seconds(interval.to_ns),
            tally.due,
            tally.sent,
            tally.received,
        )?;
        let response = &interval.metrics.response;
        for percent in [50.0, 90.0, 99.0, 99.9, 100.0] {
            write!(self.writer, ",{}", micros(response, percent))?;
        }
        writeln!(
            self.writer,
            ",{},{},{},{}",
            micros(&interval.metrics.lag, 99.0),
            tally.errors,
            interval.open_links,
            interval.open_conns
        )?;
        self.writer.flush()
    }

    /// Hands over all that is still buffered.
    ///
    /// # Errors
    ///
    /// It could not be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.writer.flush()?;
        Ok(self.writer)
    }
}

fn micros(times: &Times, percent: f64) -> String {
    if times.count() == 0 {
        String::new()
    } else {
        format!("{:.1}", times.percentile(percent) as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Tally;

    #[test]
    fn every_line_has_a_cell_for_every_column() {
        let mut full = Interval {
            from_ns: SECOND,
            to_ns: SECOND * 3 / 2,
            tally: Tally { due: 11, sent: 10, received: 9, errors: 2, ..Tally::default() },
            open_links: 3,
            open_conns: 12,
            ..Interval::default()
        };
        full.metrics.response.record(2_000_000);
        full.metrics.lag.record(64_000);
        let mut series = Series::new(Vec::new()).unwrap();
        series.write(&full).unwrap();
        series.write(&Interval { to_ns: SECOND, ..Interval::default() }).unwrap();
        let text = String::from_utf8(series.finish().unwrap()).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].len(), 15);
        assert_eq!(lines[1][..6], ["1.000", "1.500", "11", "10", "9", "18.0"]);
        for cell in &lines[1][6..11] {
            assert!((cell.parse::<f64>().unwrap() - 2000.0).abs() < 2.0, "{cell}");
        }
        assert!((lines[1][11].parse::<f64>().unwrap() - 64.0).abs() < 0.2);
        assert_eq!(lines[1][12..], ["2", "3", "12"]);
        assert_eq!(lines[2].join(","), "0.000,1.000,0,0,0,0.0,,,,,,,0,0,0");
    }
}
