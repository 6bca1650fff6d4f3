//! A device in service: requests, stops, changes while it runs, clients that leave, panics.

use super::*;

#[test]
fn requests_go_round_on_every_queue_and_closing_resets_the_device() {
    let mut rig = Rig::running();
    for round in 0..40u8 {
        rig.echo(0, &[round; 100]);
        rig.echo(1, &[round, 1]);
    }
    let (ended, seen) = rig.close();
    ended.unwrap();
    assert_eq!(seen.resets.load(Ordering::SeqCst), 1);
}

#[test]
fn requests_offered_before_the_device_ran_are_served_without_a_kick() {
    let mut rig = Rig::new();
    let request = rig.driver.rings[1].add(&[b"early"], &[5]);
    rig.negotiate();
    rig.share_memory();
    for index in 0..2 {
        rig.place(index, 0);
        rig.frontend.set_vring_enable(index, true).unwrap();
    }
    rig.wait_called(1);
    assert_eq!(request.written(&rig.driver.rings[1].used()[0]), b"early");
}

#[test]
fn a_stopped_device_goes_on_where_it_left_off() {
    let mut rig = Rig::running();
    for round in 0..20 {
        rig.echo(0, &[round]);
    }
    for index in 0..2 {
        rig.frontend.set_vring_enable(index, false).unwrap();
    }
    assert_eq!(rig.frontend.get_vring_base(0).unwrap(), 20);
    assert_eq!(rig.frontend.get_vring_base(1).unwrap(), 0);
    assert_eq!(rig.seen.resets.load(Ordering::SeqCst), 1);
    rig.place(0, 20);
    rig.place(1, 0);
    for index in 0..2 {
        rig.frontend.set_vring_enable(index, true).unwrap();
    }
    rig.echo(0, b"again");
    rig.echo(1, b"first");
    assert_eq!(rig.seen.activations.load(Ordering::SeqCst), 2);
}

#[test]
fn an_unfinished_request_is_offered_again_after_a_stop() {
    let mut rig = Rig::running();
    rig.echo(0, b"done");
    rig.seen.stalled.store(true, Ordering::SeqCst);
    let request = rig.driver.rings[0].add(&[b"lost"], &[4]);
    rig.kicks[0].write(1).unwrap();
    assert_eq!(rig.frontend.get_vring_base(0).unwrap(), 1);
    rig.frontend.get_vring_base(1).unwrap();
    rig.seen.stalled.store(false, Ordering::SeqCst);
    rig.place(0, 1);
    rig.place(1, 0);
    rig.wait_called(0);
    assert_eq!(request.written(&rig.driver.rings[0].used()[0]), b"lost");
}

#[test]
fn enabling_twice_activates_once() {
    let mut rig = Rig::running();
    rig.frontend.set_vring_enable(0, true).unwrap();
    rig.echo(0, b"still here");
    assert_eq!(rig.seen.activations.load(Ordering::SeqCst), 1);
}

#[test]
fn the_call_descriptor_may_change_while_the_device_runs() {
    let mut rig = Rig::running();
    rig.echo(0, b"old");
    let old = std::mem::replace(&mut rig.calls[0], EventFd::new(EFD_NONBLOCK).unwrap());
    rig.frontend.set_vring_call(0, &rig.calls[0]).unwrap();
    rig.echo(0, b"new");
    assert!(old.read().is_err(), "the old descriptor was signalled");
}

#[test]
fn the_configuration_space_is_the_devices_and_zero_behind_its_end() {
    let mut rig = Rig::new();
    rig.negotiate();
    let (_, data) = rig.frontend.get_config(2, 10, VhostUserConfigFlags::empty(), &[0; 10]).unwrap();
    assert_eq!(data, [3, 4, 5, 6, 7, 8, 0, 0, 0, 0]);
}

#[test]
fn a_device_that_panics_ends_the_connection_and_its_owner_hears_of_it() {
    let mut rig = Rig::running();
    let answer = rig.frontend.get_config(PANIC_AT as u32, 4, VhostUserConfigFlags::empty(), &[0; 4]);
    assert!(answer.is_err());
    rig.assert_refused("the device panicked");
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_request_stops_the_device() {
    let mut rig = Rig::running();
    rig.seen.stalled.store(true, Ordering::SeqCst);
    rig.driver.rings[0].add(&[b"never answered"], &[14]);
    rig.kicks[0].write(1).unwrap();
    let (ended, seen) = rig.close();
    ended.unwrap();
    assert_eq!(seen.resets.load(Ordering::SeqCst), 1);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_message_is_no_error() {
    use std::io::Write;
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let device = Box::new(Echo { seen: Arc::default(), tasks: Vec::new() });
    let (sender, ended) = mpsc::channel();
    let end = move |event| {
        if let Event::Ended(result) = event {
            sender.send(result).unwrap_or_default();
        }
    };
    let thread = serve(device, || Ok(ours), Offer { queues: 2, config: true }, end).unwrap();
    theirs.write_all(&[1, 0, 0, 0, 1]).unwrap();
    drop(theirs);
    ended.recv_timeout(DEADLINE).expect("the thread ends").unwrap();
    thread.join().unwrap();
}
