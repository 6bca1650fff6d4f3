//! The kvm rig: the same cases with the KVM engine, inside the outer machine. This file has both halves: the one that
//! starts the machine, and [`inside`], which this same binary runs in there.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::network;
use super::outer::{Died, Outer};
use super::software::{drive, session, tails};
use super::tools::Tools;
use crate::docker;

/// Emulated KVM exits are some hundred times slower than a processor's.
const PATIENCE: u32 = 4;

/// How often the outer machine is started anew when it dies by itself, which emulated SVM does now and then.
const LIVES: u32 = 12;

/// What one machine may take for its cases: those of every run, and whatever is named.
const EVERY_RUN: Duration = Duration::from_secs(60 * 60);
const BY_NAME: Duration = Duration::from_secs(150 * 60);

/// Cases of every rig that run here by name only: they take minutes, and what they show is the work of the daemon, the client
/// or the server of folders, which do not know what runs the guest; the software rig shows it in every run.
const ASKED: &[&str] = &[
    docker::conformance::NAME,
    "build_classic",
    "build_context_of_2000_files",
    "commit_tag_history_rmi",
    "docker_ps_wakes_a_stopped_machine",
    "export_and_import_keep_the_tree",
    "files_a_volume_that_is_a_bind",
    "files_build_with_a_context_of_50000_files",
    "files_compose_with_relative_paths",
    "files_content_goes_both_ways_by_hash",
    "files_cp_into_and_out_of_a_bind",
    "files_databases_write_and_sync",
    "files_edits_of_the_host_are_seen",
    "files_extended_attributes_and_times",
    "files_f5_links_resolve_in_the_container",
    "files_f7_removed_files_stay_for_who_has_them_open",
    "files_f9_the_host_removes_the_bound_folder",
    "files_git_clones_and_commits",
    "files_h10_lighters_own_files_are_in_no_container",
    "files_h10_what_is_not_shared_is_refused",
    "files_h9_read_only_shares_refuse_every_write",
    "files_owners_are_seen_by_others_and_after_a_restart",
    "files_postgres_keeps_its_data_in_a_bind",
    "files_sqlite_with_wal_in_two_containers",
    "files_the_host_changes_modes",
    "first_request_waits_for_the_start",
    "full_host_makes_writes_wait_and_loses_none",
    "logs_tail_and_timestamps",
    "networks_connect_containers_by_name",
    "ps_filters_and_inspect",
    "quit_takes_the_socket_and_start_brings_it_back",
    "run_carries_100_mb_out_byte_exact",
    "stats_top_pause_rename_update",
    "two_clients_at_once_wake_one_machine",
    "two_starts_at_once_give_one_machine",
    "volumes_keep_data",
    "wait_and_many_at_once",
    "x1_streams_end_with_dockerd_and_the_machine_stays",
];

/// Cases of the network rig that run here unasked; the rest takes too long.
const UNASKED: &[&str] = &[
    "net_a_container_fetches_a_file_by_its_hash",
    "net_a_container_sends_a_file_by_its_hash",
    "net_each_side_of_a_connection_ends_by_itself",
    "net_names_resolve_as_on_the_host",
    "net_ipv6_reaches_the_world",
    "ports_carry_50_mb_by_hash_each_way",
    "ports_are_this_computers_alone_and_are_listed",
];

/// Boots the outer machine and runs the cases in it. A machine that dies under its cases is started anew for those that
/// have not passed yet; a case that fails is never tried again.
pub fn run(tools: &Tools, wanted: &[String]) -> Result<()> {
    let outer = Outer::of(tools)?;
    let binary = crate::products::this_program()?;
    let asked = |name: &str| !wanted.is_empty() || !ASKED.contains(&name);
    let mut left: Vec<String> =
        docker::named(wanted).map(|case| case.name.to_owned()).filter(|name| asked(name)).collect();
    left.extend(network_cases(wanted));
    // These select in the suite, and are no cases of their own.
    let dotted: Vec<String> = wanted.iter().filter(|word| word.contains('.')).cloned().collect();
    ensure!(!left.is_empty(), "kvm: no case is named {wanted:?}");
    // The emulated machine has no network to fetch anything from.
    let any = |family: &str| left.iter().any(|name| name.starts_with(family));
    if any("served_") {
        docker::served::fetch(&tools.cache)?;
    }
    // Those of folders that run unasked need nothing more.
    if !wanted.is_empty() && any("files_") {
        docker::folders::fetch(&tools.cache)?;
    }
    if any("registry_") {
        super::registries::fetch(&tools.cache)?;
    }
    for life in 1..=LIVES {
        let command =
            format!("{} inside {} {}", binary.display(), tools.flags(), [&left[..], &dotted[..]].concat().join(" "));
        let died = match outer.run(&command, if wanted.is_empty() { EVERY_RUN } else { BY_NAME }) {
            Ok(_) => return Ok(()),
            Err(error) => error.downcast::<Died>()?,
        };
        left.retain(|name| !died.lines.iter().any(|line| passed(line, name)));
        println!("kvm: {died}; {} cases left, life {life} of {LIVES}", left.len());
        if left.is_empty() {
            return Ok(());
        }
    }
    bail!("the emulated machine died {LIVES} times")
}

/// Whether this console line says that the case passed.
fn passed(line: &str, name: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next() == Some("kvm:") && words.next() == Some(name) && words.next() == Some("ok")
}

/// The half that runs in the outer machine.
pub fn inside(tools: &Tools, wanted: &[String]) -> Result<()> {
    let dir = Path::new("/tmp/rig");
    std::fs::create_dir_all(dir)?;
    let mut session = session(tools, dir, "kvm", PATIENCE)?;
    session.words = wanted.to_vec();
    let of_network = |name: &String| network::cases().iter().any(|case| case.name == name);
    let (networks, others): (Vec<String>, Vec<String>) = wanted.iter().cloned().partition(of_network);
    let mut results = Vec::new();
    if !others.is_empty() {
        results.push(drive(&session, "kvm", &others));
        drop(session.lighter(["stop", "--quit", "--force"]).finish());
        if results[0].is_err() {
            tails(&session);
        }
    }
    if !networks.is_empty() {
        let dir = Path::new("/tmp/net");
        std::fs::create_dir_all(dir)?;
        results.push(network::in_world("kvm", self::session(tools, dir, "kvm", PATIENCE)?, tools, &networks));
    }
    results.into_iter().collect()
}

/// Cases of the network rig: those that are wanted, or when nothing is said those that show each way once.
fn network_cases(wanted: &[String]) -> Vec<String> {
    let taken = |name: &str| match wanted {
        [] => UNASKED.contains(&name),
        // Those that take long want their whole name.
        wanted if network::ASKED.contains(&name) => wanted.iter().any(|word| word == name),
        wanted => docker::is_wanted(name, wanted),
    };
    network::cases().iter().map(|case| case.name).filter(|name| taken(name)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that was renamed would change sides without a word.
    #[test]
    fn cases_that_run_by_name_or_unasked_are_cases() {
        let (every, networks) = (docker::all(), network::cases());
        let is_case = |name: &&str| every.iter().chain(&networks).any(|case| case.name == *name);
        let strange: Vec<_> = ASKED.iter().chain(UNASKED).chain(network::ASKED).filter(|name| !is_case(name)).collect();
        assert!(strange.is_empty(), "no case is named {strange:?}");
    }
}
