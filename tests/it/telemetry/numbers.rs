//! What is scraped and what is sent: the same names, the same labels, the same numbers.

use std::collections::BTreeMap;
use std::fmt::Write;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data, number_data_point};

use super::receiver::plain;
use super::{Both, get, put, sound, tenant};

/// Series and their values, as the specification's "Prometheus and `OpenMetrics` Compatibility" writes an OTLP page.
fn as_prometheus(metrics: &[Metric]) -> BTreeMap<String, f64> {
    let mut series = BTreeMap::new();
    for metric in metrics {
        let unit = match metric.unit.as_str() {
            "s" => "_seconds",
            "By" => "_bytes",
            "" => "",
            other => panic!("a unit that nobody writes: {other}"),
        };
        let name = format!("{}{unit}", metric.name.replace('.', "_"));
        match metric.data.as_ref().unwrap() {
            Data::Sum(sum) => {
                assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "{name} is cumulative");
                for point in &sum.data_points {
                    series.insert(
                        format!("{name}_total{}", labels(&point.attributes, None)),
                        number(point.value),
                    );
                }
            }
            Data::Gauge(gauge) => {
                for point in &gauge.data_points {
                    series.insert(format!("{name}{}", labels(&point.attributes, None)), number(point.value));
                }
            }
            Data::Histogram(histogram) => {
                assert_eq!(histogram.aggregation_temporality, 2);
                for point in &histogram.data_points {
                    let mut total = 0;
                    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                    for (at, count) in point.bucket_counts.iter().enumerate() {
                        total += count;
                        let bound = point.explicit_bounds.get(at).map_or("+Inf".to_owned(), f64::to_string);
                        let labels = labels(&point.attributes, Some(&bound));
                        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                        series.insert(format!("{name}_bucket{labels}"), total as f64);
                    }
                    assert_eq!(total, point.count);
                    let labels = labels(&point.attributes, None);
                    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                    series.insert(format!("{name}_count{labels}"), total as f64);
                    series.insert(format!("{name}_sum{labels}"), point.sum.unwrap());
                }
            }
            other => panic!("a kind that we have not: {other:?}"),
        }
    }
    series
}

fn number(value: Option<number_data_point::Value>) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    match value.unwrap() {
        number_data_point::Value::AsInt(value) => value as f64,
        number_data_point::Value::AsDouble(value) => value,
    }
}

fn labels(attributes: &[KeyValue], bound: Option<&str>) -> String {
    let mut text = String::new();
    // Two labels at most, and their order is the page's.
    let values = plain(attributes);
    for key in attributes.iter().map(|attribute| attribute.key.as_str()) {
        write!(text, ",{}=\"{}\"", key.replace('.', "_"), values[key]).unwrap();
    }
    if let Some(bound) = bound {
        write!(text, ",le=\"{bound}\"").unwrap();
    }
    if text.is_empty() { text } else { format!("{{{}}}", &text[1..]) }
}

fn scraped(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.into(), value.parse().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_and_a_scrape_see_the_same_names_and_numbers() {
    let world = Both::with(|_| {}).await;
    let clinic = tenant(&world.app, "fr", "clinic").await;
    for turn in 0..10 {
        put(&clinic, "clinic", &format!("k{turn}"), &vec![1; turn * 10_000]).await;
        get(&clinic, "clinic", &format!("k{turn}")).await;
    }
    assert!(clinic.s3.get_object().bucket("clinic").key("absent").send().await.is_err());
    let metrics = std::sync::Arc::clone(world.app.site("fr").metrics());
    let Both { app, fr, us: _us, _dir } = world;
    app.stop().await;
    // Everything ended before the last export, but the export itself.
    let own = |name: &String| name.starts_with("terroir_telemetry_");
    let mut page = scraped(&metrics.expose());
    let mut sent = fr.got(|got| as_prometheus(&got.metrics));
    assert!(page.keys().any(own) && sent.keys().any(own));
    page.retain(|name, _| !own(name));
    sent.retain(|name, _| !own(name));
    assert_eq!(page.keys().collect::<Vec<_>>(), sent.keys().collect::<Vec<_>>());
    for (name, value) in &page {
        assert!((value - sent[name]).abs() < 1e-6, "{name}: {value} scraped, {} sent", sent[name]);
    }
    let of = |name: &str| page.get(name).copied().unwrap_or_default();
    assert!(of("terroir_requests_total{operation=\"PutObject\",status=\"2xx\"}") >= 10.0);
    assert!(
        of(
            "http_server_request_duration_seconds_count{http_request_method=\"GET\",http_response_status_code=\"404\"}"
        ) >= 1.0
    );
    for histogram in ["store_request", "index_round_trip", "key_call", "request"] {
        let name = format!("terroir_{histogram}_duration_seconds_count");
        assert!(page.iter().any(|(series, value)| series.starts_with(&name) && *value > 0.0), "{name}");
    }
    sound(&fr);
}

/// As `promtool check metrics` judges a page: a help and a type for each family, names and labels of its alphabet, base units,
/// `_total` for counters and for nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn the_scraped_page_is_as_prometheus_wants_it() {
    let world = Both::with(|_| {}).await;
    let clinic = tenant(&world.app, "fr", "clinic").await;
    put(&clinic, "clinic", "k", b"x").await;
    let page = world.app.site("fr").metrics().expose();
    let mut families: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    let mut help = None;
    for line in page.lines() {
        if let Some(told) = line.strip_prefix("# HELP ") {
            let (name, text) = told.split_once(' ').unwrap();
            assert!(text.ends_with('.') && text.len() > 5, "{line}");
            help = Some(name);
        } else if let Some(told) = line.strip_prefix("# TYPE ") {
            let (name, kind) = told.split_once(' ').unwrap();
            assert_eq!(help, Some(name), "a help before each type");
            assert!(families.insert(name, (kind, "")).is_none(), "twice: {line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(kind != "histogram" || name.ends_with("_seconds"), "{line}");
            assert!(
                ["_ms", "_us", "_kib", "_count", "_sum", "_bucket"].iter().all(|end| !name.ends_with(end)),
                "{line}"
            );
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            let name = series.split('{').next().unwrap();
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            assert!(name.bytes().all(plain), "{line}");
            let labels = series.strip_prefix(name).unwrap();
            for label in labels.trim_matches(['{', '}']).split(',').filter(|label| !label.is_empty()) {
                let (key, value) = label.split_once("=\"").unwrap();
                assert!(key.bytes().all(plain) && value.ends_with('"') && !value.contains('\\'), "{line}");
            }
            let base =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(families.contains_key(base) || families.contains_key(name), "{line}");
        }
    }
    assert!(families.len() > 20);
}
