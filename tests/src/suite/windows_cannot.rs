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
    Cannot {
        package: "lighter",
        why: "Wine 8 takes a peer's reset for the end of what it sends: who reads gets nothing instead of WSAECONNRESET",
        tests: &[
            "forward::tests::carry::a_container_that_refuses_or_breaks_off_resets_the_client",
            "forward::tests::carry::who_is_cut_off_by_the_machines_end_does_not_take_it_for_all_there_is",
            "net::tests::idle::n9_a_guest_that_has_vanished_does_not_keep_the_far_side_for_ever",
            "net::tests::raw::n9_a_reset_of_the_far_side_in_mid_stream_resets_the_guest",
            "net::tests::raw::n9_a_reset_of_the_guest_in_mid_stream_resets_the_far_side",
            "net::tests::tcp::a_reset_passes_in_both_directions",
            "net::tests::tcp::connections_that_follow_each_other_get_their_own_bytes_and_no_others",
        ],
    },
    Cannot {
        package: "lighter",
        why: "Wine 8 binds sockets for datagrams to addresses that are not this host's",
        tests: &[
            "forward::tests::refuse::h11_host_addresses_that_are_none_of_this_computer_are_refused_to_udp",
            "net::reach::tests::n10_an_address_of_somebody_else_is_not_refused",
        ],
    },
    Cannot {
        package: "lighter",
        why: "Wine 8 never tells a socket for datagrams that nobody has the port that it sent to (WSAECONNRESET)",
        tests: &["net::tests::udp::a_port_that_nobody_has_is_reported_with_the_packet_it_is_about"],
    },
    Cannot {
        package: "lighter",
        why: "Wine 8 lets anybody join a pipe whose first instance is somebody else's (FILE_FLAG_FIRST_PIPE_INSTANCE)",
        tests: &["sys::windows::endpoint::tests::listeners::somebody_elses_pipe_is_not_joined"],
    },
    Cannot {
        package: "lighter",
        why: "Wine 8 keeps a removed file's name, and opens it again, until everybody has closed it",
        tests: &["lock::tests::a_lock_knows_whether_others_still_find_it"],
    },
    Cannot {
        package: "lighter",
        why: "Wine 8 does not tell a file's holes (FSCTL_QUERY_ALLOCATED_RANGES)",
        tests: &["daemon::disk::tests::c4_a_disk_that_nobody_has_written_to_is_known_to_be_blank"],
    },
];
