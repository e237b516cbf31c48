//! The log of `--hdr`: an HdrHistogram V2 interval log, which the tools of that ecosystem read. One line for each metric that
//! has samples in an interval, tagged with its name; all values are ns.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::stats::{Interval, Metric};

/// Writes the intervals of a run, one after the other.
pub struct HdrLog<W> {
    writer: W,
    serializer: V2DeflateSerializer,
}

impl HdrLog<BufWriter<File>> {
    /// Begins a log in a new file. `began` is when the run's clock was at 0, since the epoch.
    ///
    /// # Errors
    ///
    /// The file could not be made or written.
    pub fn create(path: &Path, began: Duration) -> io::Result<Self> {
        Self::new(BufWriter::new(File::create(path)?), began)
    }
}

impl<W: Write> HdrLog<W> {
    /// Begins a log. `began` is when the run's clock was at 0, since the epoch.
    ///
    /// # Errors
    ///
    /// Its head could not be written.
    pub fn new(mut writer: W, began: Duration) -> io::Result<Self> {
        let mut serializer = V2DeflateSerializer::new();
        IntervalLogWriterBuilder::new()
            .add_comment("[loadgen of fastway: all values are nanoseconds; one tag for each metric]")
            .with_start_time(UNIX_EPOCH + began)
            .with_base_time(UNIX_EPOCH + began)
            .begin_log_with(&mut writer, &mut serializer)?;
        Ok(Self { writer, serializer })
    }

    /// Adds a line for each metric that has samples.
    ///
    /// # Errors
    ///
    /// A line could not be written.
    pub fn write(&mut self, interval: &Interval) -> io::Result<()> {
        let from = Duration::from_nanos(interval.from_ns);
        let length = Duration::from_nanos(interval.to_ns.saturating_sub(interval.from_ns));
        // Without comments and headers, beginning anew writes nothing; the crate's writer only borrows what it writes to.
        let mut log =
            IntervalLogWriterBuilder::new().begin_log_with(&mut self.writer, &mut self.serializer)?;
        for metric in Metric::ALL {
            let times = interval.metrics.get(*metric);
            if times.count() > 0 {
                log.write_histogram(&times.0, from, length, Tag::new(metric.name()))
                    .map_err(|error| io::Error::other(error.to_string()))?;
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::clock::{MILLI, SECOND};

    fn interval(index: u64) -> Interval {
        let mut interval =
            Interval { index, from_ns: index * SECOND, to_ns: (index + 1) * SECOND, ..Interval::default() };
        for milli in 1..=1000 {
            interval.metrics.response.record((index + 1) * milli * MILLI);
            interval.metrics.first_byte.record(milli * 1000);
        }
        interval
    }

    fn decode(base64: &str) -> Histogram<u64> {
        // The crate hands out the histogram as base64, and depends on a decoder that it does not export.
        let mut bytes = Vec::new();
        let (mut bits, mut count) = (0_u32, 0);
        for symbol in base64.bytes().filter(|symbol| *symbol != b'=') {
            let value = match symbol {
                b'A'..=b'Z' => symbol - b'A',
                b'a'..=b'z' => symbol - b'a' + 26,
                b'0'..=b'9' => symbol - b'0' + 52,
                b'+' => 62,
                _ => 63,
            };
            bits = bits << 6 | u32::from(value);
            count += 6;
            if count >= 8 {
                count -= 8;
                bytes.push((bits >> count) as u8);
            }
        }
        Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap()
    }

    #[test]
    fn what_was_written_is_read_back() {
        let intervals = [interval(0), interval(1)];
        let mut log = HdrLog::new(Vec::new(), Duration::from_secs(1_700_000_000)).unwrap();
        for interval in &intervals {
            log.write(interval).unwrap();
        }
        let written = log.finish().unwrap();
        assert!(
            String::from_utf8(written.clone())
                .unwrap()
                .starts_with("#[loadgen of fastway: all values are nano")
        );
        let (mut times, mut read) = (Vec::new(), Vec::new());
        for entry in IntervalLogIterator::new(&written) {
            match entry.unwrap() {
                LogEntry::StartTime(time) | LogEntry::BaseTime(time) => times.push(time.as_secs()),
                LogEntry::Interval(line) => {
                    let tag = line.tag().unwrap().as_str().to_owned();
                    read.push((
                        tag,
                        line.start_timestamp(),
                        line.duration(),
                        decode(line.encoded_histogram()),
                    ));
                }
            }
        }
        assert_eq!(times, [1_700_000_000; 2]);
        let mut read = read.into_iter();
        for (index, interval) in intervals.iter().enumerate() {
            for metric in [Metric::response, Metric::first_byte] {
                let (tag, start, duration, histogram) = read.next().unwrap();
                assert_eq!(
                    (tag.as_str(), start.as_secs(), duration.as_secs()),
                    (metric.name(), index as u64, 1)
                );
                let times = interval.metrics.get(metric);
                assert_eq!(histogram.len(), times.count());
                assert_eq!(histogram.max(), times.max());
                for percent in [0.0, 50.0, 90.0, 99.0, 99.9] {
                    assert_eq!(histogram.value_at_percentile(percent), times.0.value_at_percentile(percent));
                }
            }
        }
        assert!(read.next().is_none(), "metrics without samples have no line");
    }
}
