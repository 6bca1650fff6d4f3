//! Who gets in, and who does not.

use std::os::windows::io::AsHandle;
use std::task::Poll;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::sys::windows::security::{self, dacl_of};

#[tokio::test]
async fn where_nobody_listens_nothing_is_found() {
    let path = name();
    assert_eq!(connect(&path).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(!stands(&path));
    let listener = Listener::bind(&path).unwrap();
    assert!(stands(&path));
    let _client = connect(&path).await.unwrap();
    assert!(stands(&path), "also while it is busy");
    drop(listener);
    assert!(!stands(&path));
}

#[tokio::test]
async fn somebody_elses_pipe_is_not_joined() {
    let path = name();
    let first = Listener::bind(&path).unwrap();
    assert_eq!(Listener::bind(&path).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    drop(first);
    Listener::bind(&path).unwrap();
}

#[tokio::test]
async fn a_busy_pipe_is_waited_for() {
    let path = name();
    let mut listener = Listener::bind(&path).unwrap();
    let mut first = Vec::new();
    for _ in 0..FREE {
        first.push(connect(&path).await.unwrap());
    }
    let refused = connect_within(&path, Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(ERROR_PIPE_BUSY as i32));
    let second = tokio::spawn({
        let path = path.clone();
        async move { connect(&path).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let _accepted = listener.accept().await.unwrap();
    soon(second).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_cancelled_accept_loses_no_client() {
    let path = name();
    let mut listener = Listener::bind(&path).unwrap();
    for _ in 0..3 {
        let mut accept = Box::pin(listener.accept());
        assert!(std::future::poll_fn(|cx| Poll::Ready(accept.as_mut().poll(cx).is_pending())).await);
    }
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(tokio::spawn({
            let path = path.clone();
            async move { connect(&path).await.unwrap().write_all(b"x").await.unwrap() }
        }));
    }
    for _ in 0..20 {
        assert_eq!(soon(soon(listener.accept()).await.unwrap().read_u8()).await.unwrap(), b'x');
    }
}

#[tokio::test]
async fn a_client_that_is_gone_before_it_is_accepted_is_one_without_a_word() {
    let path = name();
    let mut listener = Listener::bind(&path).unwrap();
    assert_eq!(server(&path), Some(std::process::id()));
    let mut gone = soon(listener.accept()).await.unwrap();
    assert_eq!(rest(&mut gone).await, b"");
    let (next, client) = tokio::join!(soon(listener.accept()), connect(&path));
    client.unwrap().write_all(b"x").await.unwrap();
    assert_eq!(soon(next.unwrap().read_u8()).await.unwrap(), b'x');
    drop(listener);
    // An instance that waits for a client goes when the system has told that it does not any more.
    soon(async {
        while server(&path).is_some() {
            tokio::time::sleep(AGAIN).await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_pipe_is_for_this_user_the_administrators_and_the_system() {
    let (server, client) = pair().await;
    let Pipe::Server(pipe) = server.pipe() else { panic!("not the server's end") };
    let access = dacl_of(pipe.as_handle()).unwrap();
    let user = security::user_sid().unwrap();
    assert!(user.starts_with("S-1-5-"), "{user}");
    assert!(access.starts_with("D:P") && access.contains(&user), "{access}");
    assert_eq!(access.matches("(A;").count(), 3, "{access}");
    let me = Some(std::process::id());
    assert_eq!((peer_pid(&server), peer_pid(&client)), (me, me));
}
