//! Packets in, packets out; and servers on the loopback, good and bad.

use super::*;

fn data(block: u16, bytes: &[u8]) -> Vec<u8> {
    [&DATA.to_be_bytes()[..], &block.to_be_bytes(), bytes].concat()
}

fn options(words: &[&str]) -> Vec<u8> {
    let mut packet = OPTIONS.to_be_bytes().to_vec();
    for word in words {
        packet.extend_from_slice(word.as_bytes());
        packet.push(0);
    }
    packet
}

#[test]
fn blocks_are_put_together_and_others_are_passed_over() {
    let mut transfer = Transfer::new(1000);
    let full = [7; 512];
    assert_eq!(transfer.take(&data(2, &full)), Ok(Step::Stray));
    assert_eq!(transfer.take(&data(0, &full)), Ok(Step::Stray));
    assert_eq!(transfer.take(&data(1, &full)), Ok(Step::Answer(acknowledgement(1))));
    assert_eq!(transfer.take(&data(1, &full)), Ok(Step::Answer(acknowledgement(1))));
    assert_eq!(transfer.take(&data(3, b"x")), Ok(Step::Stray));
    assert_eq!(transfer.take(&options(&["blksize", "8"])), Ok(Step::Stray));
    assert_eq!(transfer.take(&data(2, b"end")), Ok(Step::Finished(acknowledgement(2))));
    assert_eq!(transfer.bytes.len(), 515);
    for packet in [&[][..], &[0], &[0, 3], &[0, 3, 1], &[0, 9, 0, 0], &[0, 4, 0, 1]] {
        assert_eq!(Transfer::new(9).take(packet), Ok(Step::Stray), "{packet:?}");
    }
}

#[test]
fn block_numbers_wrap_around() {
    let mut transfer = Transfer::new(u64::MAX);
    transfer.take(&options(&["blksize", "8"])).unwrap();
    for block in 1..=70_000_u32 {
        let block = u16::try_from(block % 65_536).unwrap();
        assert_eq!(transfer.take(&data(block, &[1; 8])), Ok(Step::Answer(acknowledgement(block))));
    }
    assert_eq!(transfer.bytes.len(), 560_000);
}

#[test]
fn what_is_too_large_or_was_not_agreed_on_is_refused() {
    for (packets, expected) in [
        (vec![options(&["tsize", "1001"])], "more than 1000"),
        (vec![options(&["windowsize", "4"])], "was not asked"),
        (vec![options(&["blksize", "9000"])], "was not asked"),
        (vec![options(&["blksize", "zero"])], "was not asked"),
        (vec![options(&["blksize", "16"]), data(1, &[0; 17])], "larger blocks"),
        (vec![data(1, &[0; 513])], "larger blocks"),
        (vec![data(1, &[0; 512]), data(2, &[0; 512])], "more than 1000"),
        (vec![[&[0, 5, 0, 1][..], b"no\x1bfile\0"].concat()], "error 1 nofile"),
    ] {
        let mut transfer = Transfer::new(1000);
        let found = packets.iter().find_map(|packet| transfer.take(packet).err());
        assert!(
            found.as_ref().is_some_and(|text| text.contains(expected)),
            "{expected}: {found:?}"
        );
    }
    let mut good = Transfer::new(1000);
    assert_eq!(
        good.take(&options(&["BLKSIZE", "1024", "tsize", "1000"])),
        Ok(Step::Answer(acknowledgement(0)))
    );
    assert_eq!(good.block_size, 1024);
}

#[test]
fn addresses_name_host_port_and_file() {
    for (given, expected) in [
        ("tftp://a.example/dir/x", Some(("a.example", 69, "dir/x"))),
        ("tftp://[::1]:6900/x;mode=octet", Some(("::1", 6900, "x"))),
        ("tftp://a.example", None),
        ("tftp://a.example/", None),
        ("tftp://a.example:x/y", None),
    ] {
        let found = target(given).ok();
        let found =
            found.as_ref().map(|((host, port), path)| (host.as_str(), *port, path.as_str()));
        assert_eq!(found, expected, "{given}");
    }
}

/// A server that answers each packet by a function; it gets the packet and the number of packets before.
fn serve(answer: impl Fn(&[u8], usize) -> Vec<Vec<u8>> + Send + 'static) -> String {
    let main = UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("tftp://{}/dir/file", main.local_addr().unwrap());
    std::thread::spawn(move || {
        let own = UdpSocket::bind("127.0.0.1:0").unwrap();
        own.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut buffer = [0; 600];
        let (mut length, from) = main.recv_from(&mut buffer).unwrap();
        for count in 0.. {
            for packet in answer(&buffer[..length], count) {
                let _ = own.send_to(&packet, from);
            }
            match own.recv_from(&mut buffer) {
                Ok((next, _)) => length = next,
                Err(_) => return,
            }
        }
    });
    url
}

const CLIENT: Client = Client { wait: Duration::from_millis(20), attempts: 4 };

fn get(url: &str, limit: u64) -> Result<Vec<u8>, String> {
    let deadline = Instant::now() + Duration::from_secs(2);
    CLIENT.get(url, limit, deadline).map_err(|error| error.to_string())
}

#[test]
fn a_server_with_options_is_read_though_packets_are_lost_and_doubled() {
    let url = serve(|packet, count| {
        let acknowledged = u16::from_be_bytes([packet[2], packet[3]]);
        match (packet[1], acknowledged) {
            (1, _) => {
                let text = String::from_utf8_lossy(&packet[2..]).into_owned();
                let words: Vec<&str> = text.split('\0').collect();
                assert_eq!(words, ["dir/file", "octet", "blksize", "1428", "tsize", "0", ""]);
                vec![options(&["blksize", "600", "tsize", "605"])]
            }
            // The first answer is lost on the way.
            (4, 0) if count == 1 => vec![],
            (4, 0) => vec![data(9, b"wrong"), data(1, &[5; 600]), data(1, &[5; 600])],
            (4, 1) => vec![data(2, b"ahead")],
            _ => vec![],
        }
    });
    let bytes = get(&url, 1000).unwrap();
    assert_eq!((bytes.len(), &bytes[600..]), (605, &b"ahead"[..]));
}

#[test]
fn a_server_without_options_is_read() {
    let url = serve(|packet, _| match packet[1] {
        1 => vec![data(1, b"small")],
        _ => vec![],
    });
    assert_eq!(get(&url, 5).unwrap(), b"small");
    let refuses = serve(|_, _| vec![[&[0, 5, 0, 1][..], b"not found\0"].concat()]);
    assert!(get(&refuses, 5).unwrap_err().contains("not found"));
}

#[test]
fn servers_that_never_end_or_never_answer_are_left() {
    let endless = serve(|packet, _| {
        let block = if packet[1] == 1 { 0 } else { u16::from_be_bytes([packet[2], packet[3]]) };
        vec![data(block.wrapping_add(1), &[0; 512])]
    });
    assert!(get(&endless, 10_000).unwrap_err().contains("more than 10000"));
    let silent = serve(|_, _| vec![]);
    assert!(get(&silent, 10).unwrap_err().contains("does not answer"));
    let mad = serve(|_, _| vec![data(77, b"x"); 20]);
    let error = get(&mad, 10).unwrap_err();
    assert!(error.contains("does not answer") || error.contains("fit nothing"), "{error}");
}

proptest::proptest! {
    #[test]
    fn no_packets_panic_or_pass_the_bound(packets: Vec<Vec<u8>>, codes: Vec<u8>) {
        let mut transfer = Transfer::new(100);
        for (packet, code) in packets.iter().zip(codes) {
            let _ = transfer.take(packet);
            let _ = transfer.take(&[&[0, code % 7, 0, 1], packet.as_slice()].concat());
            proptest::prop_assert!(transfer.bytes.len() <= 100);
        }
    }
}
