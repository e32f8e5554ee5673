//! Synthetic records for the tour: the shapes that health platforms really write, with nobody's data in them.

use std::f64::consts::TAU;
use std::fmt::Write as _;

/// One record of the tour.
pub(super) struct Record {
    /// What it is, for the table.
    pub(super) title: &'static str,
    /// Its key.
    pub(super) key: &'static str,
    /// Its media type.
    pub(super) content_type: &'static str,
    /// The class asked for; `None` leaves it to the tenant's default.
    pub(super) class: Option<&'static str>,
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
}

/// The tour's records: four shapes, three classes. `salt` tells tenants apart.
pub(super) fn all(salt: u32) -> Vec<Record> {
    vec![
        Record {
            title: "FHIR Observation",
            key: "fhir/Observation/blood-pressure.json",
            content_type: "application/fhir+json",
            class: Some("health"),
            bytes: fhir_observation(salt).into_bytes(),
        },
        Record {
            title: "ECG waveform",
            key: "ecg/lead-ii.bin",
            content_type: "application/octet-stream",
            class: Some("health-sensitive"),
            bytes: ecg_waveform(salt),
        },
        Record {
            title: "device measurements",
            key: "devices/scale/measurements.csv",
            content_type: "text/csv",
            class: Some("personal"),
            bytes: device_measurements(salt).into_bytes(),
        },
        Record {
            title: "DICOM-like image",
            key: "imaging/slice-001.dcm",
            content_type: "application/dicom",
            class: Some("health"),
            bytes: dicom_like(salt),
        },
    ]
}

/// A blood pressure panel as HL7 FHIR R4 shapes it (LOINC 85354-9 with components 8480-6 and 8462-4).
fn fhir_observation(salt: u32) -> String {
    let (systolic, diastolic) = (110 + salt % 30, 70 + salt % 15);
    format!(
        r#"{{"resourceType":"Observation","id":"bp-{salt}","status":"final","category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}}]}}],"code":{{"coding":[{{"system":"http://loinc.org","code":"85354-9","display":"Blood pressure panel"}}]}},"subject":{{"reference":"Patient/synthetic-{salt}"}},"effectiveDateTime":"2026-01-01T08:00:00Z","component":[{{"code":{{"coding":[{{"system":"http://loinc.org","code":"8480-6"}}]}},"valueQuantity":{{"value":{systolic},"unit":"mmHg"}}}},{{"code":{{"coding":[{{"system":"http://loinc.org","code":"8462-4"}}]}},"valueQuantity":{{"value":{diastolic},"unit":"mmHg"}}}}]}}"#
    )
}

/// 300 s of one ECG lead at 500 Hz, 16-bit little-endian microvolts: 300,000 bytes, so it takes several segments.
fn ecg_waveform(salt: u32) -> Vec<u8> {
    const HERTZ: u32 = 500;
    const SECONDS: u32 = 300;
    let beat_hertz = 1.0 + f64::from(salt % 40) / 100.0;
    (0..HERTZ * SECONDS)
        .flat_map(|n| {
            let phase = (f64::from(n) / f64::from(HERTZ) * beat_hertz).fract();
            let bump =
                |centre: f64, width: f64, height: f64| height * (-((phase - centre) / width).powi(2)).exp();
            let wave = bump(0.2, 0.025, 150.0)
                + bump(0.37, 0.008, -120.0)
                + bump(0.4, 0.01, 1100.0)
                + bump(0.43, 0.008, -250.0)
                + bump(0.65, 0.05, 300.0)
                + 20.0 * (TAU * phase * 3.0).sin();
            #[expect(clippy::cast_possible_truncation, reason = "the sum of the bumps stays within ±2,000")]
            (wave as i16).to_le_bytes()
        })
        .collect()
}

/// A month of a connected scale's measurements.
fn device_measurements(salt: u32) -> String {
    let mut csv = String::from("time,weight_kg,fat_percent,pulse_wave_velocity_m_s\n");
    for day in 1..=31_u32 {
        let wobble = f64::from(salt.wrapping_mul(31).wrapping_add(day * 17) % 20) / 10.0;
        // Writing to a String cannot fail.
        let _ = writeln!(
            csv,
            "2026-01-{day:02}T07:30:00Z,{:.1},{:.1},{:.1}",
            70.0 + wobble,
            18.0 + wobble / 2.0,
            6.5 + wobble / 5.0
        );
    }
    csv
}

/// The preamble, magic (`DICM` at 128, DICOM PS3.10 §7.1) and a file meta group, then 256 × 256 16-bit pixels.
fn dicom_like(salt: u32) -> Vec<u8> {
    const SYNTAX: &[u8; 20] = b"1.2.840.10008.1.2.1\0";
    let mut bytes = vec![0; 128];
    bytes.extend_from_slice(b"DICM");
    // (0002,0010) Transfer Syntax UID, explicit VR little endian.
    bytes.extend_from_slice(&[0x02, 0x00, 0x10, 0x00, b'U', b'I', 20, 0]);
    bytes.extend_from_slice(SYNTAX);
    // (7FE0,0010) Pixel Data, OW, with a 32-bit length.
    bytes.extend_from_slice(&[0xe0, 0x7f, 0x10, 0x00, b'O', b'W', 0, 0]);
    bytes.extend_from_slice(&(256_u32 * 256 * 2).to_le_bytes());
    for y in 0..256_u32 {
        for x in 0..256_u32 {
            let (dx, dy) = (x.abs_diff(128), y.abs_diff(128));
            let value = if dx * dx + dy * dy < 100 * 100 { 900 + (x * y + salt) % 200 } else { 0 };
            #[expect(clippy::cast_possible_truncation, reason = "at most 1,099")]
            bytes.extend_from_slice(&(value as u16).to_le_bytes());
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_records_have_the_shapes_they_claim() {
        let fhir: serde_json::Value = serde_json::from_str(&fhir_observation(7)).unwrap();
        assert_eq!(fhir["resourceType"], "Observation");
        assert_eq!(&dicom_like(7)[128..132], b"DICM");
        assert_eq!(ecg_waveform(7).len(), 300_000);
        assert_eq!(device_measurements(7).lines().count(), 32);
    }

    #[test]
    fn tenants_get_different_bytes() {
        for (a, b) in all(1).iter().zip(all(2)) {
            assert_ne!(a.bytes, b.bytes, "{}", a.title);
        }
    }
}
