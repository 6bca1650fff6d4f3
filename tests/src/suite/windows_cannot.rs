//! Tests of the portable crates that cannot run under Wine 8, with what it lacks; on Windows they are to run. Used by the suite
//! `windows`, which prints them.

/// Tests that have the same thing missing.
pub(super) struct Cannot {
    pub package: &'static str,
    pub why: &'static str,
    /// Full names.
    pub tests: &'static [&'static str],
}

pub(super) const CANNOT: &[Cannot] = &[
    Cannot {
        package: "lighter-vmm",
        why: "Wine 8 does not promise to open files by number, and what is held by place is stale once the host renames it",
        tests: &["sys::tests::what_is_held_stays_the_same_one_whatever_the_host_calls_it"],
    },
    Cannot {
        package: "lighter-vmm",
        why: "Wine 8 takes no name away from a file that is open (FileDispositionInfoEx)",
        tests: &["sys::tests::what_has_lost_its_name_goes_on_for_those_who_have_it"],
    },
    Cannot {
        package: "lighter-vmm",
        why: "Wine 8 keeps no streams beside a file's content, by which attributes and records are kept",
        tests: &[
            "sys::tests::f8_a_device_is_one_for_the_guest_only",
            "sys::tests::f8_attributes_of_the_guest_are_kept_and_ours_are_not_among_them",
        ],
    },
    Cannot {
        package: "lighter-vmm",
        why: "Wine 8 makes no reparse points (FSCTL_SET_REPARSE_POINT), so no links",
        tests: &["sys::tests::f6_links_say_what_they_were_told_and_are_not_followed"],
    },
];
