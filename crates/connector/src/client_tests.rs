//! The client against hosts that must not be reached (SSRF) and answers that are none.

use super::*;
use std::net::TcpListener;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn request(uri: &str) -> Request {
    Request { method: Method::POST, uri: uri.parse().unwrap(), headers: Vec::new(), body: b"{}".to_vec() }
}

fn answering(addresses: &'static [&'static str]) -> Lookup {
    Arc::new(move |_| {
        Box::pin(async move {
            Ok(addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0)).collect())
        })
    })
}

fn untouched(listener: &TcpListener) -> bool {
    listener.accept().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn no_way_to_write_a_loopback_address_gets_through() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = Client::new(false, Duration::from_secs(5));
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "017700000001",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "[::1]",
        "[::]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "example.com@127.0.0.1",
        "example.com:80@127.0.0.1",
    ] {
        let error = client.send(request(&format!("http://{host}:{port}/"))).await.unwrap_err();
        // A form that this system's resolver does not know is as good as refused.
        let is_refused = match &error {
            ClientError::Private { .. } => true,
            ClientError::Connection(text) => text.contains("dns error"),
            _ => false,
        };
        assert!(is_refused, "{host}: {error:?}");
        assert!(untouched(&listener), "{host} was connected to");
    }
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "example.com@127.0.0.1"] {
        let error = client.send(request(&format!("http://{host}:{port}/"))).await.unwrap_err();
        assert!(matches!(error, ClientError::Private { .. }), "{host}: {error:?}");
    }
}

#[tokio::test]
async fn a_name_is_refused_by_what_it_stands_for_each_time_it_is_looked_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let uri = format!("http://hook.example:{}/", listener.local_addr().unwrap().port());
    for addresses in
        [&["127.0.0.1"][..], &["10.0.0.1", "::1"], &["169.254.169.254"], &["::ffff:127.0.0.1"], &[]]
    {
        let client = Client::with_lookup(
            false,
            Duration::from_secs(5),
            Arc::new(move |name| answering(addresses)(name)),
        );
        let error = client.send(request(&uri)).await.unwrap_err();
        assert_eq!(error, ClientError::Private { host: "hook.example".to_owned() });
        let error = client.stream(request(&uri), &mut |_| true).await.unwrap_err();
        assert_eq!(error, ClientError::Private { host: "hook.example".to_owned() });
    }
    assert!(untouched(&listener));
}

/// A name that answers with both: only what is public is handed on, so nothing else can be connected to.
#[tokio::test]
async fn what_connects_is_what_was_checked() {
    use tower_service::Service;
    let lookup = answering(&["127.0.0.1", "93.184.216.34", "10.0.0.1", "2606:4700::1111", "::1"]);
    let handed_on = |allow_private| {
        let mut resolver = Resolver { allow_private, lookup: lookup.clone() };
        async move {
            resolver
                .call("mixed.example".parse().unwrap())
                .await
                .unwrap()
                .map(|a| a.ip().to_string())
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(handed_on(false).await, ["93.184.216.34", "2606:4700::1111"]);
    assert_eq!(handed_on(true).await.len(), 5);
}

/// Answers every connection with `answer`, again and again if `endless`; then closes, or holds on if `held`.
async fn server(answer: Vec<u8>, endless: bool, held: bool) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 4_096];
                let _ = socket.read(&mut request).await;
                while socket.write_all(&answer).await.is_ok() && endless {}
                if held {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    uri
}

async fn ask(answer: &[u8], endless: bool, held: bool) -> [Result<Reply, ClientError>; 2] {
    let uri = server(answer.to_vec(), endless, held).await;
    let client = Client::new(true, Duration::from_millis(300));
    [client.send(request(&uri)).await, client.send_for_status(request(&uri)).await]
}

#[tokio::test]
async fn an_answer_that_is_none_is_a_failure_and_costs_little() {
    for (name, answer, endless, held) in [
        ("nothing, and closed", &b""[..], false, false),
        ("nothing, ever", b"", false, true),
        ("garbage", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 what?\r\n\r\n", false, false),
        ("garbage without end", &[0xff; 1_000], true, false),
        ("half a head", b"HTTP/1.1 200 OK\r\ncontent-le", false, false),
        ("half a head, held", b"HTTP/1.1 200 OK\r\ncontent-le", false, true),
        ("a flood of 1xx", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", true, false),
        ("a flood of 100", b"HTTP/1.1 100 Continue\r\n\r\n", true, false),
        ("a header without end", b"HTTP/1.1 200 OK\r\nx: ", false, true),
    ] {
        for reply in ask(answer, endless, held).await {
            assert!(
                matches!(reply, Err(ClientError::Connection(_) | ClientError::Timeout(_))),
                "{name}: {reply:?}"
            );
        }
    }
    let huge = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &vec![b'a'; 1 << 20], b"\r\ncontent-length: 0\r\n\r\n"]
        .concat();
    let many = [b"HTTP/1.1 200 OK\r\n".as_slice(), &b"a: b\r\n".repeat(10_000), b"content-length: 0\r\n\r\n"]
        .concat();
    for answer in [huge, many] {
        let [reply, _] = ask(&answer, false, false).await;
        assert!(matches!(reply, Err(ClientError::Connection(_))), "{reply:?}");
    }
}

#[tokio::test]
async fn a_status_counts_even_if_the_body_breaks_off_or_never_ends() {
    let gigabyte =
        [b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n".as_slice(), &vec![b'x'; 200_000]].concat();
    let [whole, status] = ask(&gigabyte, false, true).await;
    assert_eq!(whole, Err(ClientError::TooLarge(REPLY_BYTES)));
    assert_eq!(status.unwrap().body.len(), REPLY_BYTES);
    for (held, head) in [
        (false, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"),
        (true, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"),
        (false, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\n"),
        (true, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\n"),
    ] {
        let [whole, status] = ask(format!("{head}part").as_bytes(), false, held).await;
        assert!(whole.is_err(), "{whole:?}");
        assert_eq!(status.unwrap(), Reply { body: b"part".to_vec(), ..reply_of(head) });
    }
}

/// A cut answer would be read as another one: all of it, or an error.
#[tokio::test]
async fn an_answer_is_whole_up_to_the_limit_and_an_error_beyond_it() {
    for (limit, length, fits) in [(None, REPLY_BYTES, true), (None, REPLY_BYTES + 1, false)]
        .into_iter()
        .chain([(Some(1 << 20), 1 << 20, true), (Some(1 << 20), (1 << 20) + 1, false)])
    {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        let uri = server([head.as_bytes(), &vec![b'x'; length]].concat(), false, false).await;
        let client = Client::new(true, Duration::from_secs(30));
        let client = limit.into_iter().fold(client, Client::with_reply_bytes);
        let whole = client.send(request(&uri)).await.map(|reply| reply.body.len());
        let most = limit.unwrap_or(REPLY_BYTES);
        assert_eq!(whole, if fits { Ok(length) } else { Err(ClientError::TooLarge(most)) });
        assert_eq!(client.send_for_status(request(&uri)).await.unwrap().body.len(), length.min(most));
    }
}

fn reply_of(head: &str) -> Reply {
    let headers = head.lines().filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Reply { status: 200, headers, body: Vec::new() }
}
