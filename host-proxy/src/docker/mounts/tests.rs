//! Tests of the whole of `mounts`: tables by catalogue id, and properties with bodies of any shape.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn paths(kind: Kind, body: &str) -> Vec<(Place, Form, String)> {
    let found = find(kind, body.as_bytes()).unwrap_or_else(|error| panic!("{body}: {error}"));
    found.into_iter().map(|found| (found.place, found.form, found.path)).collect()
}

fn bind(entry: &str) -> Option<(Form, String)> {
    let body = json!({"HostConfig": {"Binds": [entry]}}).to_string();
    let mut found = paths(Kind::Container, &body);
    assert!(found.len() <= 1);
    found.pop().map(|(_, form, path)| (form, path))
}

#[test]
fn h9_binds_are_cut_where_their_writer_meant_it() {
    for (entry, form, path) in [
        ("/src:/data", Form::Absolute, "/src"),
        ("/src:/data:ro,Z", Form::Absolute, "/src"),
        ("/:/host", Form::Absolute, "/"),
        ("/../etc:/data", Form::Absolute, "/../etc"),
        ("//var/run/docker.sock:/var/run/docker.sock", Form::Absolute, "//var/run/docker.sock"),
        ("/with space\u{e9}:/data", Form::Absolute, "/with space\u{e9}"),
        ("/back\\slash:/data", Form::Absolute, "/back\\slash"),
        ("./src:/data", Form::Relative, "./src"),
        ("..:/data", Form::Relative, ".."),
        ("src/lib:/data", Form::Relative, "src/lib"),
        ("~:/data", Form::Relative, "~"),
        ("~/src:/data", Form::Relative, "~/src"),
        ("C:\\src:/data", Form::WindowsFolder, "C:\\src"),
        ("c:\\src:/data:ro", Form::WindowsFolder, "c:\\src"),
        ("C:/src:/data", Form::WindowsFolder, "C:/src"),
        ("C:\\src:C:\\data", Form::WindowsFolder, "C:\\src"),
        ("\\\\server\\share\\x:/data", Form::WindowsFolder, "\\\\server\\share\\x"),
        ("\\\\?\\C:\\src:/data", Form::WindowsFolder, "\\\\?\\C:\\src"),
        ("\\\\.\\pipe\\docker_engine:/p", Form::WindowsPipe, "\\\\.\\pipe\\docker_engine"),
        ("//./pipe/docker_engine:/p", Form::WindowsPipe, "//./pipe/docker_engine"),
    ] {
        assert_eq!(bind(entry), Some((form, path.to_owned())), "{entry}");
    }
}

#[test]
fn h9_volumes_and_what_only_dockerd_can_judge_are_no_paths() {
    for entry in
        ["cache:/data", "cache:/data:ro", "/data", ":/data", "", "c:/data:ro", "C:/data", "C:\\data", "c:/data"]
    {
        assert_eq!(bind(entry), None, "{entry}");
    }
    for body in ["null", "{}", r#"{"HostConfig":null}"#, r#"{"HostConfig":{"Binds":null,"Mounts":[null,{}]}}"#] {
        assert_eq!(paths(Kind::Container, body), []);
    }
    let body = json!({
        "Image": "x", "Volumes": {"/data": {}},
        "HostConfig": {
            "Binds": [null], "VolumesFrom": ["other:ro"], "Tmpfs": {"/run": "size=1m"},
            "Mounts": [
                {"Type": "volume", "Source": "cache", "Target": "/a"},
                {"Type": "tmpfs", "Target": "/b"},
                {"Type": "bind", "Source": "", "Target": "/c"},
                {"Type": "volume", "Target": "/d", "VolumeOptions": {"DriverConfig": {
                    "Name": "local", "Options": {"type": "nfs", "o": "addr=10.0.0.1", "device": ":/export"}}}},
                {"Type": "volume", "Target": "/e", "VolumeOptions": {"DriverConfig": {
                    "Name": "other", "Options": {"o": "bind", "device": "/x"}}}},
            ],
        },
    });
    assert_eq!(paths(Kind::Container, &body.to_string()), []);
}

#[test]
fn h9_mounts_and_volume_options_are_found_in_every_body_that_has_them() {
    let mounts = json!([
        {"Type": "bind", "Source": "/a", "Target": "/1", "ReadOnly": true},
        {"Type": "volume", "Target": "/2", "VolumeOptions": {"DriverConfig": {
            "Options": {"type": "none", "o": "rw,bind", "device": "/../b"}}}},
        {"Type": "bind", "Source": "D:\\c", "Target": "/3"},
    ]);
    let wanted = [
        (Place::Mount, Form::Absolute, "/a".to_owned()),
        (Place::Device, Form::Absolute, "/../b".to_owned()),
        (Place::Mount, Form::WindowsFolder, "D:\\c".to_owned()),
    ];
    let container = json!({"HostConfig": {"Mounts": mounts}}).to_string();
    assert_eq!(paths(Kind::Container, &container), wanted);
    let beside = json!({"Mounts": mounts, "HostConfig": {}}).to_string();
    assert_eq!(paths(Kind::Container, &beside), wanted);
    let service = json!({"Name": "s", "TaskTemplate": {"ContainerSpec": {"Image": "i", "Mounts": mounts}}}).to_string();
    assert_eq!(paths(Kind::Service, &service), wanted);
    let volume = r#"{"Name":"v","Driver":"local","DriverOpts":{"type":"none","device":"/d","o":"rbind"}}"#;
    assert_eq!(paths(Kind::Volume, volume), [(Place::Device, Form::Absolute, "/d".to_owned())]);
    let volume = r#"{"DriverOpts":{"device":"E:\\d","o":"bind"}}"#;
    assert_eq!(paths(Kind::Volume, volume), [(Place::Device, Form::WindowsFolder, "E:\\d".to_owned())]);
    assert_eq!(paths(Kind::Volume, r#"{"Driver":"nfs","DriverOpts":{"device":"/d","o":"bind"}}"#), []);
}

/// Go's reader finds a field in any case, and by two letters that are not ASCII.
#[test]
fn h9_field_names_are_found_as_dockerd_finds_them() {
    for (config, binds) in [("hostconfig", "BINDS"), ("HOSTCONFIG", "bind\u{17f}"), ("Ho\\u0073tConfig", "Bind\\u017f")]
    {
        let body = format!(r#"{{"{config}":{{"{binds}":["/a:/b"]}}}}"#);
        assert_eq!(paths(Kind::Container, &body), [(Place::Bind, Form::Absolute, "/a".to_owned())], "{body}");
    }
    let body =
        "{\"Ta\u{17f}\u{212a}Template\":{\"containerspec\":{\"mounts\":[{\"type\":\"bind\",\"source\":\"/a\"}]}}}";
    assert_eq!(paths(Kind::Service, body).len(), 1);
    // The names of a map's entries are the user's, case and all.
    assert_eq!(paths(Kind::Volume, r#"{"DriverOpts":{"Device":"/d","o":"bind"}}"#), []);
}

#[test]
fn h9_fields_given_twice_are_refused_where_they_matter() {
    for body in [
        r#"{"HostConfig":{},"HostConfig":{"Binds":["/:/x"]}}"#,
        r#"{"HostConfig":{},"hostconfig":{"Binds":["/:/x"]}}"#,
        r#"{"HostConfig":{"Binds":[],"Bind\u017f":["/:/x"]}}"#,
        r#"{"HostConfig":{"Binds":null,"Binds":["/:/x"]}}"#,
        r#"{"HostConfig":{"Mounts":[],"mounts":[]}}"#,
        r#"{"HostConfig":{"Mounts":[{"Type":"volume","type":"bind","Source":"/"}]}}"#,
        r#"{"HostConfig":{"Mounts":[{"Type":"bind","Source":"/a","SOURCE":"/"}]}}"#,
        r#"{"Mounts":[{"VolumeOptions":{"DriverConfig":{"Options":{"o":"bind","device":"/a","device":"/"}}}}]}"#,
        r#"{"Mounts":[{"VolumeOptions":{"DriverConfig":{"Options":{"o":"ro","o":"bind","device":"/"}}}}]}"#,
        r#"{"Mounts":[{"VolumeOptions":{"DriverConfig":{},"driverConfig":{}}}]}"#,
    ] {
        assert!(matches!(find(Kind::Container, body.as_bytes()), Err(MountError::Twice { .. })), "{body}");
    }
    // What nobody looks at may stand there as often as it likes.
    let body = r#"{"Labels":{"a":"1","a":"2"},"Env":[],"env":[],"HostConfig":{"Binds":["/a:/b"],"X":1,"X":2}}"#;
    assert_eq!(paths(Kind::Container, body).len(), 1);
}

#[test]
fn h9_bodies_that_cannot_be_read_are_refused_unless_dockerd_cannot_read_them_either() {
    for body in [
        "{",
        "[]",
        "\"x\"",
        "1",
        r#"{}{"HostConfig":{"Binds":["/:/x"]}}"#,
        r#"{"HostConfig":{"Binds":["/:/x"]}"#,
        "\u{feff}{}",
        "{\"a\":01}",
        "{\"a\":1,}",
        "{'a':1}",
        "{\"a\":NaN}",
        "{\"a\":\"\n\"}",
        "nul",
        "{\"a\" \"b\"}",
    ] {
        assert_eq!(paths(Kind::Container, body), [], "{body}");
    }
    // dockerd reads the first value before it sees that there is more.
    for body in [r#"{"HostConfig":{"Binds":["/:/x"]}}{}"#, r#" {"HostConfig":{"Binds":["/:/x"]}} x"#] {
        assert_eq!(paths(Kind::Container, body).len(), 1, "{body}");
    }
    assert!(matches!(find(Kind::Volume, b"{\"Name\":\"\xff\"}"), Err(MountError::NotText(_))));
    for body in [
        r#"{"HostConfig":[]}"#,
        r#"{"HostConfig":{"Binds":"/:/x"}}"#,
        r#"{"HostConfig":{"Binds":{"0":"/:/x"}}}"#,
        r#"{"HostConfig":{"Binds":[["/:/x"]]}}"#,
        r#"{"HostConfig":{"Binds":["\ud800:/x"]}}"#,
        r#"{"HostConfig":{"Mounts":[{"Type":"bind","Source":1}]}}"#,
        r#"{"HostConfig":{"Mounts":[{"Type":"volume","VolumeOptions":"/"}]}}"#,
    ] {
        assert!(matches!(find(Kind::Container, body.as_bytes()), Err(MountError::Shape { .. })), "{body}");
    }
}

/// A parser that calls itself for every bracket would overflow its stack.
#[test]
fn h9_deep_nesting_is_passed_over_at_constant_depth() {
    let deep = format!("{}{}", "[".repeat(1 << 20), "]".repeat(1 << 20));
    let body = format!(r#"{{"X":{deep},"HostConfig":{{"Y":{deep},"Binds":["/a:/b"]}}}}"#);
    assert_eq!(paths(Kind::Container, &body).len(), 1);
    assert_eq!(paths(Kind::Container, &deep), []);
}

#[test]
fn h9_only_paths_that_dockerd_would_misread_have_a_complaint() {
    for (path, host, complaint) in [
        ("/src", HostKind::Unix, None),
        ("./src", HostKind::Unix, None),
        ("C:\\src", HostKind::Unix, Some("a folder of Windows")),
        ("C:\\src", HostKind::Windows, None),
        ("//./pipe/docker_engine", HostKind::Unix, Some("a named pipe of Windows")),
        ("//./pipe/docker_engine", HostKind::Windows, Some("a named pipe of Windows")),
    ] {
        let body = json!({"Mounts": [{"Type": "bind", "Source": path}]}).to_string();
        let found = find(Kind::Container, body.as_bytes()).expect("a body");
        let said = found[0].misread(host);
        assert_eq!(said.is_some(), complaint.is_some());
        assert!(said.unwrap_or_default().contains(complaint.unwrap_or_default()));
    }
}

#[test]
fn h9_a_translated_path_replaces_its_own_text_and_nothing_else() {
    let body = "{ \"z\" : 1.50e+07, \"HostConfig\":{\"Mounts\":[ {\"Source\":\"\\u002fa\",\"Type\":\"bind\"}],\r\n\
        \"Binds\":[\"v:/v\",\"/a:/b:ro\"], \"n\":12345678901234567890123 },\"a\":\"\\u00e9\\/\" }";
    let found = find(Kind::Container, body.as_bytes()).expect("a body");
    let same = rewrite::<MountError>(body.as_bytes(), &found, |_| Ok(None)).expect("nothing to change");
    assert!(matches!(same, Cow::Borrowed(bytes) if bytes == body.as_bytes()));
    let changed = rewrite::<MountError>(body.as_bytes(), &found, |found| Ok(Some(format!("/host{}\"", found.path))));
    let wanted = body.replace("\"\\u002fa\"", "\"/host/a\\\"\"").replace("\"/a:/b:ro\"", "\"/host/a\\\":/b:ro\"");
    assert_eq!(std::str::from_utf8(&changed.expect("translated")), Ok(wanted.as_str()));
    let colon = rewrite::<MountError>(body.as_bytes(), &found, |_| Ok(Some("/a:b".to_owned())));
    assert!(matches!(colon, Err(MountError::Colon { .. })));
}

/// JSON of any shape, often with the names that matter.
fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("/a:/b:ro".to_owned()),
        Just("/".to_owned()),
        Just("bind".to_owned()),
        Just("C:\\x:/y".to_owned()),
        Just("local".to_owned()),
        Just("volume".to_owned()),
        "\\PC{0,6}",
    ];
    let name = prop_oneof![
        Just("HostConfig"),
        Just("Binds"),
        Just("Mounts"),
        Just("Type"),
        Just("Source"),
        Just("VolumeOptions"),
        Just("DriverConfig"),
        Just("Options"),
        Just("o"),
        Just("device"),
        Just("TaskTemplate"),
        Just("ContainerSpec"),
        Just("Driver"),
        Just("DriverOpts"),
        Just("other"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((name.clone(), inner), 0..6)
                .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

/// `HostConfig` as the API has it, with any number of everything.
fn any_container() -> impl Strategy<Value = Value> {
    let path = prop_oneof!["/[a-z/. \"\\\\é]{0,8}", "[a-z]{2,5}", "[CD]:\\\\[a-z]{1,4}"];
    let bind = (path.clone(), prop_oneof![Just(""), Just(":/t"), Just(":/t:ro")]).prop_map(|(path, rest)| path + rest);
    let mount = (
        prop_oneof![Just("bind"), Just("volume"), Just("tmpfs")],
        path.clone(),
        prop_oneof![Just("bind,ro"), Just("ro")],
        path,
    )
        .prop_map(|(kind, source, flags, device)| {
            json!({
                "Type": kind, "Source": source, "Target": "/t",
                "VolumeOptions": {"DriverConfig": {"Options": {"o": flags, "device": device}}}
            })
        });
    (proptest::collection::vec(bind, 0..5), proptest::collection::vec(mount, 0..5), any_json()).prop_map(
        |(binds, mounts, other)| json!({"A": other, "HostConfig": {"X": other, "Binds": binds, "Mounts": mounts}}),
    )
}

/// What the paths become, and that nothing else changes.
fn translated_and_nothing_else(kind: Kind, body: &str) -> Result<(), TestCaseError> {
    let Ok(found) = find(kind, body.as_bytes()) else { return Ok(()) };
    let new = |path: &str| format!("/shares/{}", path.replace(':', "_"));
    let rewritten =
        rewrite::<MountError>(body.as_bytes(), &found, |found| Ok(Some(new(&found.path)))).expect("no colon");
    let again = find(kind, &rewritten).expect("still a body");
    let wanted: Vec<_> = found.iter().map(|found| (found.place, new(&found.path), found.rest.clone())).collect();
    let got: Vec<_> = again.iter().map(|found| (found.place, found.path.clone(), found.rest.clone())).collect();
    prop_assert_eq!(wanted, got);
    let mut back = again.iter().zip(&found).map(|(_, old)| old.path.clone());
    // A drive's colon cannot be put back into a bind, so these are compared up to here.
    if found.iter().all(|found| !found.path.contains(':')) {
        let restored = rewrite::<MountError>(&rewritten, &again, |_| Ok(back.next())).expect("no colon");
        let value = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).expect("JSON");
        prop_assert_eq!(value(&restored), value(body.as_bytes()));
    }
    Ok(())
}

proptest! {
    #[test]
    fn h9_rewriting_changes_every_path_and_no_other_value(body in any_container(), pretty in any::<bool>()) {
        let body = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) };
        translated_and_nothing_else(Kind::Container, &body.expect("JSON"))?;
    }

    #[test]
    fn h9_any_json_is_read_or_refused(body in any_json(), kind in prop_oneof![Just(Kind::Container), Just(Kind::Service), Just(Kind::Volume)]) {
        translated_and_nothing_else(kind, &body.to_string())?;
    }

    #[test]
    fn h9_any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..64), entry in "\\PC{0,12}") {
        let _ = find(Kind::Container, &body);
        let _ = bind(&entry);
        let _ = route("POST", &body);
    }
}
