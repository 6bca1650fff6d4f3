//! Locks: who has one keeps others out, until it lets go or ends.

use std::os::fd::OwnedFd;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::{Errno, dup};

use crate::case::{Held, Wrong, cases, equal, fails, holds};
use crate::scene::{file, made, opened};
use crate::sys::child::{Child, Gate, apart, spawn};
use crate::sys::lock::{Lock, owner, set};

cases!("locks":
    whole_ones_keep_other_openings_out,
    whole_ones_are_shared,
    whole_ones_change_their_kind,
    whole_ones_go_with_the_last_copy_of_a_descriptor,
    whole_ones_are_waited_for,
    records_keep_other_processes_out,
    records_are_shared,
    records_want_a_descriptor_for_it,
    records_split_and_join,
    records_go_with_any_descriptor_of_the_process,
    records_go_with_the_process,
    records_tell_who_has_them,
    records_and_whole_ones_do_not_meet,
    are_for_names_of_the_same_file_alike,
);

const TRY_ALONE: FlockOperation = FlockOperation::NonBlockingLockExclusive;
const TRY_SHARED: FlockOperation = FlockOperation::NonBlockingLockShared;

fn again() -> Result<OwnedFd, Wrong> {
    opened("f", OFlags::RDWR)
}

/// Another process gets this range for itself, or does not.
fn free(start: i64, len: i64, wanted: bool) -> Held {
    apart(|| {
        let got = set(&again()?, Lock::Exclusive, start, len);
        if wanted { Ok(got?) } else { fails(Errno::AGAIN, got) }
    })
}

/// A process that has a record lock until the gate opens.
fn holder(gate: &Gate, lock: Lock, start: i64, len: i64) -> Result<Child, Wrong> {
    let set_up = Gate::new()?;
    let child = spawn(|| {
        let file = again()?;
        set(&file, lock, start, len)?;
        set_up.open()?;
        gate.pass()
    })?;
    set_up.pass()?;
    Ok(child)
}

fn whole_ones_keep_other_openings_out() -> Held {
    let (one, other) = (made("f")?, again()?);
    flock(&one, FlockOperation::LockExclusive)?;
    fails(Errno::AGAIN, flock(&other, TRY_ALONE))?;
    fails(Errno::AGAIN, flock(&other, TRY_SHARED))?;
    apart(|| fails(Errno::AGAIN, flock(again()?, TRY_ALONE)))?;
    flock(&one, FlockOperation::Unlock)?;
    Ok(flock(&other, TRY_ALONE)?)
}

fn whole_ones_are_shared() -> Held {
    let (one, other) = (made("f")?, opened("f", OFlags::RDONLY)?);
    flock(&one, TRY_SHARED)?;
    flock(&other, TRY_SHARED)?;
    apart(|| fails(Errno::AGAIN, flock(again()?, TRY_ALONE)))?;
    apart(|| Ok(flock(again()?, TRY_SHARED)?))
}

fn whole_ones_change_their_kind() -> Held {
    let (one, other) = (made("f")?, again()?);
    flock(&one, TRY_SHARED)?;
    flock(&one, TRY_ALONE)?;
    fails(Errno::AGAIN, flock(&other, TRY_SHARED))?;
    flock(&one, TRY_SHARED)?;
    Ok(flock(&other, TRY_SHARED)?)
}

fn whole_ones_go_with_the_last_copy_of_a_descriptor() -> Held {
    let (one, other) = (made("f")?, again()?);
    flock(&one, TRY_ALONE)?;
    let copy = dup(&one)?;
    drop(one);
    fails(Errno::AGAIN, flock(&other, TRY_ALONE))?;
    drop(copy);
    Ok(flock(&other, TRY_ALONE)?)
}

fn whole_ones_are_waited_for() -> Held {
    let one = made("f")?;
    flock(&one, TRY_ALONE)?;
    let waiting = spawn(|| {
        flock(again()?, FlockOperation::LockExclusive)?;
        crate::scene::put("g", "done")
    })?;
    crate::scene::tick();
    holds(!crate::scene::is_there("g"), "the other waits")?;
    flock(&one, FlockOperation::Unlock)?;
    waiting.wait()
}

fn records_keep_other_processes_out() -> Held {
    let mine = made("f")?;
    set(&mine, Lock::Exclusive, 10, 10)?;
    free(0, 10, true)?;
    free(20, 0, true)?;
    free(19, 1, false)?;
    free(0, 0, false)?;
    set(&again()?, Lock::Exclusive, 15, 10)?;
    set(&mine, Lock::None, 0, 0)?;
    free(0, 0, true)
}

fn records_are_shared() -> Held {
    let mine = made("f")?;
    set(&mine, Lock::Shared, 0, 0)?;
    apart(|| {
        let theirs = again()?;
        set(&theirs, Lock::Shared, 5, 5)?;
        fails(Errno::AGAIN, set(&theirs, Lock::Exclusive, 5, 1))
    })
}

fn records_want_a_descriptor_for_it() -> Held {
    file("f")?;
    fails(Errno::BADF, set(&opened("f", OFlags::RDONLY)?, Lock::Exclusive, 0, 0))?;
    fails(Errno::BADF, set(&opened("f", OFlags::WRONLY)?, Lock::Shared, 0, 0))?;
    fails(Errno::INVAL, set(&again()?, Lock::Shared, -1, 5))
}

fn records_split_and_join() -> Held {
    let mine = made("f")?;
    set(&mine, Lock::Exclusive, 0, 30)?;
    set(&mine, Lock::None, 10, 10)?;
    free(10, 10, true)?;
    free(9, 1, false)?;
    free(20, 1, false)?;
    set(&mine, Lock::Shared, 10, 10)?;
    free(10, 10, false)?;
    set(&mine, Lock::Exclusive, 5, 20)?;
    free(12, 1, false)
}

fn records_go_with_any_descriptor_of_the_process() -> Held {
    let mine = made("f")?;
    set(&mine, Lock::Exclusive, 0, 0)?;
    free(0, 0, false)?;
    drop(opened("f", OFlags::RDONLY)?);
    free(0, 0, true)
}

fn records_go_with_the_process() -> Held {
    let mine = made("f")?;
    let gate = Gate::new()?;
    let child = holder(&gate, Lock::Exclusive, 0, 0)?;
    fails(Errno::AGAIN, set(&mine, Lock::Shared, 0, 1))?;
    gate.open()?;
    child.wait()?;
    Ok(set(&mine, Lock::Exclusive, 0, 0)?)
}

fn records_tell_who_has_them() -> Held {
    let mine = made("f")?;
    equal(owner(&mine, 0, 0)?, None)?;
    set(&mine, Lock::Exclusive, 3, 3)?;
    equal(owner(&mine, 0, 0)?, None)?;
    let me = rustix::process::getpid().as_raw_nonzero().get();
    apart(|| {
        let theirs = again()?;
        equal(owner(&theirs, 0, 0)?, Some(me))?;
        equal(owner(&theirs, 6, 0)?, None)
    })
}

fn records_and_whole_ones_do_not_meet() -> Held {
    let mine = made("f")?;
    flock(&mine, TRY_ALONE)?;
    free(0, 0, true)?;
    set(&mine, Lock::Exclusive, 0, 0)?;
    flock(&mine, FlockOperation::Unlock)?;
    apart(|| Ok(flock(again()?, TRY_ALONE)?))
}

fn are_for_names_of_the_same_file_alike() -> Held {
    let mine = made("f")?;
    rustix::fs::link("f", "g")?;
    flock(&mine, TRY_ALONE)?;
    set(&mine, Lock::Exclusive, 0, 0)?;
    apart(|| {
        let theirs = opened("g", OFlags::RDWR)?;
        fails(Errno::AGAIN, flock(&theirs, TRY_ALONE))?;
        fails(Errno::AGAIN, set(&theirs, Lock::Shared, 0, 0))
    })
}
