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
        why: "Wine 8 opens no file by its number (FILE_OPEN_BY_FILE_ID), by which shared folders hold everything",
        tests: &[
            "sys::tests::content_is_written_read_appended_and_cut",
            "sys::tests::f2_names_of_all_kinds_are_made_found_and_listed",
            "sys::tests::f5_ranges_are_made_zero_and_found_or_refused",
            "sys::tests::f6_links_say_what_they_were_told_and_are_not_followed",
            "sys::tests::f8_owner_and_mode_are_as_the_guest_set_them",
            "sys::tests::removing_says_what_linux_says",
            "sys::tests::times_are_set_and_change_nothing_else",
            "sys::tests::what_is_held_stays_the_same_one_whatever_it_is_called",
            "virtio::fs::server::tests::a_kernel_that_need_not_open_folders_lists_them_by_their_node",
            "virtio::fs::server::tests::f10_ten_thousand_entries_are_listed_once_each_and_held_by_few_descriptors",
            "virtio::fs::server::tests::f13_no_request_writes_through_a_share_that_is_read_only",
            "virtio::fs::server::tests::f4_a_handle_that_was_never_given_or_is_released_opens_nothing",
            "virtio::fs::server::tests::f5_offsets_and_lengths_that_cannot_be_are_refused",
            "virtio::fs::server::tests::h10_a_hidden_folder_is_neither_found_nor_listed_nor_renamed",
            "virtio::fs::server::tests::events::only_the_agents_thread_repeats_what_is_armed_and_only_that",
        ],
    },
    Cannot {
        package: "lighter-vmm",
        why: "Wine 8 keeps no extended attributes of files (NtSetEaFile)",
        tests: &["sys::tests::f8_attributes_of_the_guest_are_kept_and_ours_are_not_among_them"],
    },
    Cannot {
        package: "lighter",
        why: "Wine 8 takes a peer's reset for the end of what it sends: who reads gets nothing instead of WSAECONNRESET",
        tests: &[
            "forward::tests::carry::a_container_that_refuses_or_breaks_off_resets_the_client",
            "forward::tests::carry::who_is_cut_off_by_the_machines_end_does_not_take_it_for_all_there_is",
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
