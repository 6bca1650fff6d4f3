//! Several processors on threads of their own, cancelled from others: a cancellation before a run, one that finds the guest
//! in an endless loop, and two processors that count at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use windows_sys::Win32::System::Hypervisor::*;

use crate::emulator::Emulator;
use crate::machine::{CODE, Machine, ok};
use crate::sys::Api;

/// jmp to itself.
const LOOP: &[u8] = &[0xeb, 0xfe];
/// out dx, al; inc al; jmp to the OUT.
const COUNTER: &[u8] = &[0xee, 0xfe, 0xc0, 0xeb, 0xfb];
/// How often each counts.
const TIMES: usize = 50;
/// Tries of a cancellation that races with the entry.
const RACES: u32 = 200;

fn cancel(machine: &Machine, index: u32) {
    // SAFETY: as the page says.
    ok("cancel", unsafe { (machine.api.cancel)(machine.handle, index, 0) });
}

fn run_to_cancel(machine: &Machine, index: u32) {
    assert_eq!(machine.run(index).ExitReason, WHvRunVpExitReasonCanceled);
}

/// Cancellations before and during a run, and in between.
pub fn cancellations(api: &Arc<Api>) {
    let machine = Machine::new(api, 1, false, 0);
    machine.write(CODE, LOOP);
    machine.create_long_mode_vp(0, CODE);
    cancel(&machine, 0);
    run_to_cancel(&machine, 0);
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(100));
            cancel(&machine, 0);
        });
        run_to_cancel(&machine, 0);
    });
    let (took, rip) = (began.elapsed(), machine.get(0, WHvX64RegisterRip));
    assert!(took >= Duration::from_millis(90) && rip == CODE, "{took:?}, rip {rip:#x}");
    // One cancellation for each run, at any moment of it: none may be lost, or this never ends.
    let turn = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..RACES {
                while !turn.swap(false, Ordering::SeqCst) {
                    thread::yield_now();
                }
                cancel(&machine, 0);
            }
        });
        for _ in 0..RACES {
            turn.store(true, Ordering::SeqCst);
            run_to_cancel(&machine, 0);
        }
    });
    println!("cancel: kept for the next run, {RACES} races, and one in the loop after {} ms", took.as_millis());
}

/// Two processors at once.
pub fn two_processors(api: &Arc<Api>) {
    let machine = Machine::new(api, 2, true, 0);
    machine.write(CODE, COUNTER);
    let counts = thread::scope(|scope| {
        let count = |index: u32| {
            machine.create_long_mode_vp(index, CODE);
            // Without the trap it would wait for the guest's SIPI.
            let active = WHV_REGISTER_VALUE { Reg64: 0 };
            let port = WHV_REGISTER_VALUE { Reg64: 0x80 + u64::from(index) };
            machine.set(index, &[(WHvRegisterInternalActivityState, active), (WHvX64RegisterRdx, port)]);
            let emulator = Emulator::new(&machine, index);
            for _ in 0..TIMES {
                let exit = machine.run(index);
                assert_eq!(exit.ExitReason, WHvRunVpExitReasonX64IoPortAccess);
                emulator.emulate(&exit);
            }
            emulator.take_log()
        };
        let threads = [0, 1].map(|index| scope.spawn(move || count(index)));
        threads.map(|thread| thread.join().expect("a processor's thread"))
    });
    for (index, log) in (0..).zip(&counts) {
        let wanted: Vec<String> = (0..TIMES).map(|n| format!("out {:#x} size 1 = {n:#x}", 0x80 + index)).collect();
        assert_eq!(*log, wanted);
    }
    println!("processors: two threads, {TIMES} exits each");
}
