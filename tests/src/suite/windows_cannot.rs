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
];
