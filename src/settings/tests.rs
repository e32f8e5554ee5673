//! Settings files, sound and otherwise.

use super::*;

const SOUND: &str = r#"
environment = "prod"
regions-dir = "/etc/terroir/regions"

[region.us]
listen = { data = "127.0.0.1:9010", control = "127.0.0.1:9011", observe = "0.0.0.0:9012" }

[region.fr]
state-dir = "/srv/fr"
listen = { data = "0.0.0.0:9000", control = "[::]:9001", observe = "0.0.0.0:9002" }
tls = { certificate = "/etc/tls/fr.crt", private-key = "file:/etc/tls/fr.key" }

[limits]
blob-bytes-max = 1048576
drain-ms-max = 0
"#;

fn problems(text: &str) -> Vec<Problem> {
    match Settings::parse("terroir.toml", text) {
        Err(SettingsError::Wrong(problems)) => problems,
        other => panic!("{other:?}"),
    }
}

fn lines(text: &str) -> Vec<usize> {
    problems(text).iter().map(|problem| problem.line).collect()
}

#[test]
fn a_sound_file_becomes_values_in_its_own_order() {
    let settings = Settings::parse("terroir.toml", SOUND).unwrap();
    let ids: Vec<_> = settings.regions.iter().map(|region| region.id.as_str()).collect();
    assert_eq!(ids, ["us", "fr"]);
    let fr = settings.region(&"fr".parse().unwrap()).unwrap();
    assert_eq!(fr.listen.control.port(), 9001);
    assert_eq!(fr.state_dir, Path::new("/srv/fr"));
    assert_eq!(settings.regions[0].state_dir, Path::new("/var/lib/terroir/us"));
    let limits = Limits { blob_bytes_max: 1_048_576, drain_ms_max: 0, ..Limits::default() };
    assert_eq!(settings.limits, limits);
}

#[test]
fn the_defaults_are_the_documented_ones_and_lie_in_their_own_ranges() {
    let defaults = Settings::parse("f", "environment = \"prod\"").unwrap().limits;
    assert_eq!(defaults, Limits::default());
    let printed = defaults.to_string();
    for line in [
        "limits.headers-bytes-max = 65536",
        "limits.headers-max = 100",
        "limits.header-read-ms-max = 10000",
        "limits.body-idle-ms-max = 15000",
        "limits.body-rate-bytes-per-s-min = 1024",
        "limits.body-rate-window-ms = 30000",
        "limits.drain-ms-max = 30000",
        "limits.memory-bytes-max = 268435456",
        "limits.blob-bytes-max = 8388608",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line}");
    }
    // What is printed can be read back, so each default lies in its own range.
    let file = printed.replace("limits.", "");
    let again = Settings::parse("f", &format!("environment = \"prod\"\n[limits]\n{file}")).unwrap();
    assert_eq!(again.limits, defaults);
}

#[test]
fn every_problem_is_told_with_its_line() {
    let text = "environment = \"Prod\"\n[region.fr]\nlisten = { data = \"here\", control = \"127.0.0.1:1\", observe = \"127.0.0.1\" }\n\
                [limits]\nconnections-max = 0\nheaders-max = 1000000\n";
    assert_eq!(lines(text), [1, 3, 3, 5, 6]);
    assert!(problems(text)[0].to_string().starts_with("terroir.toml:1: environment: "));
}

#[test]
fn unknown_and_missing_fields_are_refused() {
    assert_eq!(lines("environment = \"prod\"\nregion-dir = \"x\"\n"), [2]);
    assert_eq!(lines("environment = \"prod\"\n[limits]\nparts = 1\n"), [3]);
    assert_eq!(lines("environment = \"prod\"\n[region.fr]\n"), [2]);
    assert_eq!(lines("environment = \"prod\"\n[region.fr]\nlisten = { data = \"127.0.0.1:1\" }\n"), [3]);
    assert!(!lines("").is_empty());
    assert!(!lines("environment = \"prod").is_empty());
}

#[test]
fn a_listener_beyond_this_machine_needs_tls() {
    let listen = |data: &str, control: &str| {
        format!(
            "environment = \"prod\"\n[region.fr]\nlisten = {{ data = \"{data}\", control = \"{control}\", observe = \"0.0.0.0:3\" }}\n"
        )
    };
    for (data, control) in
        [("0.0.0.0:1", "127.0.0.1:2"), ("127.0.0.1:1", "[::]:2"), ("10.0.0.1:1", "127.0.0.1:2")]
    {
        assert_eq!(lines(&listen(data, control)), [2], "{data} {control}");
        let with_tls =
            format!("{}tls = {{ certificate = \"c\", private-key = \"env:K\" }}\n", listen(data, control));
        assert!(Settings::parse("f", &with_tls).is_ok());
    }
    assert!(Settings::parse("f", &listen("127.0.0.1:1", "[::1]:2")).is_ok());
}

#[test]
fn two_listeners_never_share_an_address() {
    let region = |id: &str, first: u16| {
        format!(
            "[region.{id}]\nlisten = {{ data = \"127.0.0.1:{first}\", control = \"127.0.0.1:{}\", observe = \"127.0.0.1:{}\" }}\n",
            first + 1,
            first + 2
        )
    };
    let two = |a, b| format!("environment = \"prod\"\n{}{}", region("fr", a), region("us", b));
    assert!(Settings::parse("f", &two(9000, 9010)).is_ok());
    assert_eq!(problems(&two(9000, 9002)).len(), 1);
    let any_port = "environment = \"test\"\n[region.fr]\nlisten = { data = \"127.0.0.1:0\", control = \"127.0.0.1:0\", observe = \"127.0.0.1:0\" }\n";
    assert!(Settings::parse("f", any_port).is_ok());
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    for limits in [
        "blob-bytes-max = 100000",
        "memory-bytes-max = 16777216",
        "tenant-requests-max = 3000",
        "blob-bytes-max = 16777216",
        "body-rate-bytes-per-s-min = -1",
        "drain-ms-max = \"30 s\"",
    ] {
        let text = format!("environment = \"prod\"\n[limits]\n{limits}\n");
        assert!(!problems(&text).is_empty(), "{limits}");
    }
    let small = "environment = \"prod\"\n[limits]\nmemory-bytes-max = 16777216\nblob-bytes-max = 4194304\n";
    assert!(Settings::parse("f", small).is_ok());
}

#[test]
fn blobs_were_deleted_for_good_before_the_oldest_backup_that_names_them() {
    assert!(Limits::default().reclaim_delay_s >= Scrub::default().restore_horizon_s, "the defaults");
    let of = |text: &str| problems(&format!("environment = \"prod\"\n{text}\n"));
    for (text, line) in [
        ("[limits]\nreclaim-delay-s = 604800", 3),
        ("[scrub]\nrestore-horizon-s = 2592001", 3),
        ("[limits]\nreclaim-delay-s = 7199\n[scrub]\nrestore-horizon-s = 7200", 3),
    ] {
        let problems = of(text);
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        let Problem { message, line: told, .. } = &problems[0];
        assert_eq!(*told, line, "{text}");
        assert!(
            message.contains("limits.reclaim-delay-s") && message.contains("scrub.restore-horizon-s"),
            "{message}"
        );
    }
    let equal =
        "environment = \"prod\"\n[limits]\nreclaim-delay-s = 7200\n[scrub]\nrestore-horizon-s = 7200\n";
    assert!(Settings::parse("f", equal).is_ok());
}

#[test]
fn a_secret_in_the_wrong_place_is_neither_taken_nor_repeated() {
    let with_key = |key: &str| SOUND.replace("\"file:/etc/tls/fr.key\"", key);
    for pasted in ["\"-----BEGIN PRIVATE KEY----- hunter2\"", "[\"hunter2\"]", "{ pem = \"hunter2\" }"] {
        let problems = problems(&with_key(pasted));
        assert!(
            !problems.is_empty() && problems.iter().all(|problem| !problem.to_string().contains("hunter2"))
        );
    }
    let typed = problems("environment = \"prod\"\n[limits]\nconnections-max = \"hunter2\"\n");
    assert!(!typed[0].to_string().contains("hunter2") && typed[0].line == 3, "{typed:?}");
}

#[test]
fn what_is_in_force_is_printed_by_reference() {
    let printed = Settings::parse("f", SOUND).unwrap().to_string();
    for line in [
        "environment = prod",
        "regions-dir = /etc/terroir/regions",
        "region.fr.tls.private-key = file:/etc/tls/fr.key",
        "region.us.tls = (none)",
        "region.fr.state-dir = /srv/fr",
        "limits.drain-ms-max = 0",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line}\n{printed}");
    }
}

#[test]
fn only_the_regions_that_were_asked_for_are_served() {
    let settings = Settings::parse("f", SOUND).unwrap();
    let served = settings.clone().serving(&["fr".parse().unwrap()]).unwrap();
    assert_eq!(served.regions.len(), 1);
    assert_eq!(served.regions[0].id.as_str(), "fr");
    assert!(matches!(settings.serving(&["de".parse().unwrap()]), Err(SettingsError::RegionMissing(_))));
    assert!(matches!(Settings::load(Path::new("/no/such/terroir.toml")), Err(SettingsError::Read { .. })));
}
