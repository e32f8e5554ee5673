//! The metrics as text: Prometheus exposition format 0.0.4.

use std::fmt::Write as _;

use super::family::{Family, Kind, Point, Value};
use super::metrics::DURATION_BOUNDS_US;

/// The page that is scraped. Writing to a `String` cannot fail, so results are dropped.
pub(super) fn page(families: &[Family]) -> String {
    let mut page = String::with_capacity(16 * 1024);
    for family in families {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(page, "# HELP {name} {}\n# TYPE {name} {kind}", family.help, name = family.name);
        for point in &family.points {
            write_point(&mut page, family.name, point);
        }
    }
    page
}

fn write_point(page: &mut String, name: &str, point: &Point) {
    let labels: Vec<String> =
        point.labels.iter().map(|(key, value)| format!("{}=\"{value}\"", key.replace('.', "_"))).collect();
    let labels = labels.join(",");
    let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = match &point.value {
        Value::Counter(value) => writeln!(page, "{name}{braces} {value}"),
        Value::Gauge(value) => writeln!(page, "{name}{braces} {value}"),
        Value::Histogram { buckets, sum_us } => {
            let comma = if labels.is_empty() { "" } else { "," };
            let mut total = 0;
            for (at, count) in buckets.iter().enumerate() {
                total += count;
                let bound = DURATION_BOUNDS_US.get(at).map_or_else(|| "+Inf".to_owned(), |us| seconds(*us));
                let _ = writeln!(page, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}");
            }
            let _ = writeln!(page, "{name}_sum{braces} {}", seconds(*sum_us));
            writeln!(page, "{name}_count{braces} {total}")
        }
    };
}

/// Microseconds as decimal seconds, exactly (a float would round sums).
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact() {
        for (micros, text) in [(0, "0"), (250, "0.00025"), (1_000_000, "1"), (15_000_001, "15.000001")] {
            assert_eq!(seconds(micros), text);
        }
    }
}
