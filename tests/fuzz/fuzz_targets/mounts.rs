//! Bodies in which paths of the host may stand, and targets that lead to them. What is read must be JSON; rewriting the
//! paths must be seen by the next reader, leave the body's bytes alone if there is nothing to do, and change nothing else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lighter::docker::mounts::{Kind, MountError, find, rewrite, route};
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let _ = route("POST", bytes);
    for kind in [Kind::Container, Kind::Service, Kind::Volume] {
        let Ok(found) = find(kind, bytes) else { continue };
        let same = rewrite::<MountError>(bytes, &found, |_| Ok(None)).expect("nothing to refuse");
        assert_eq!(same, bytes);
        let new = |path: &str| format!("/s/{}", path.replace(':', "_"));
        let rewritten = rewrite::<MountError>(bytes, &found, |found| Ok(Some(new(&found.path)))).expect("no colon");
        let again = find(kind, &rewritten).expect("still a body");
        assert!(found.iter().map(|path| new(&path.path)).eq(again.iter().map(|path| path.path.clone())));
        if found.iter().all(|path| !path.path.contains(':')) {
            let mut old = found.iter().map(|path| path.path.clone());
            let restored = rewrite::<MountError>(&rewritten, &again, |_| Ok(old.next())).expect("no colon");
            let value = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
            assert_eq!(value(&restored), value(bytes));
        }
    }
});
