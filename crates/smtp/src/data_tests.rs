use super::*;
use proptest::prelude::*;

/// The plain meaning of the wire: everything a decoder says, the input cut at `cuts`.
fn decode(decoder: &mut Decoder, input: &[u8], cuts: &[usize]) -> (Vec<u8>, bool, usize) {
    let (mut content, mut from, mut used_in_all) = (Vec::new(), 0, 0);
    for end in cuts.iter().copied().chain([input.len()]) {
        let end = end.clamp(from, input.len());
        let mut piece_of_input = &input[from..end];
        loop {
            let (used, piece) = decoder.next(piece_of_input);
            used_in_all += used;
            match piece {
                Piece::NeedMore => {
                    assert_eq!(used, piece_of_input.len());
                    break;
                }
                Piece::Run(range) => {
                    assert!(!range.is_empty() && range.end <= used);
                    content.extend_from_slice(&piece_of_input[range]);
                }
                Piece::Static(octets) => content.extend_from_slice(octets),
                Piece::End => return (content, true, used_in_all),
            }
            piece_of_input = &piece_of_input[used..];
        }
        from = end;
    }
    (content, false, used_in_all)
}

fn check(wire: &[u8], content: &[u8], trouble: Option<ContentTrouble>, ended: bool) {
    for cut in 0..=wire.len() {
        let mut decoder = Decoder::for_data(1000);
        let (got, end, used) = decode(&mut decoder, wire, &[cut]);
        let name = format!("{} cut at {cut}", wire.escape_ascii());
        assert_eq!(
            (got.escape_ascii().to_string(), end, decoder.trouble()),
            (content.escape_ascii().to_string(), ended, trouble),
            "{name}"
        );
        if end {
            assert_eq!(used, wire.len(), "{name}");
        }
    }
    let mut decoder = Decoder::for_data(1000);
    let cuts: Vec<usize> = (0..wire.len()).collect();
    assert_eq!(decode(&mut decoder, wire, &cuts).0, content, "octet by octet");
}

#[test]
fn honest_content() {
    for (wire, content) in [
        (&b".\r\n"[..], &b""[..]),
        (b"\r\n.\r\n", b"\r\n"),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"a\r\n\r\nb\r\n.\r\n", b"a\r\n\r\nb\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"a\r\n..b\r\n...\r\n.\r\n", b"a\r\n.b\r\n..\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),
        (b"a.\r\nb.c\r\n.\r\n", b"a.\r\nb.c\r\n"),
        (b"\xff\xfe\r\n.\r\n", b"\xff\xfe\r\n"),
    ] {
        check(wire, content, None, true);
    }
}

#[test]
fn only_cr_lf_dot_cr_lf_ends() {
    let stray = Some(ContentTrouble::Stray);
    for (wire, content) in [
        (&b"a\n.\nb"[..], &b"a\r\n.\r\nb"[..]),
        (b"a\n.\r\nb", b"a\r\n.\r\nb"),
        (b"a\r\n.\nb", b"a\r\n\r\nb"),
        (b"a\r.\rb", b"a . b"),
        (b"a\r.\r\nb", b"a .\r\nb"),
        (b"a\r\n.\rb", b"a\r\n b"),
        (b"a\n.\rb", b"a\r\n. b"),
        (b"a\r\n.\r\r\nb", b"a\r\n \r\nb"),
        (b"a\r\r\n.\r\n", b"a \r\n"),
        (b"a\n\n.\r\n.b", b"a\r\n\r\n.\r\nb"),
        (b"a\0b", b"a b"),
        (b"\r\n\0.\r\nx", b"\r\n .\r\nx"),
    ] {
        check(wire, content, stray, wire.ends_with(b"a\r\r\n.\r\n"));
    }
}

#[test]
fn a_long_line_is_noticed_however_it_arrives() {
    for (octets, trouble) in [(1000, None), (1001, Some(ContentTrouble::LineTooLong))] {
        let wire = [b"a\r\n".to_vec(), vec![b'x'; octets], b"\r\nb\r\n.\r\n".to_vec()].concat();
        for cut in [1, 500, octets, wire.len()] {
            let mut decoder = Decoder::for_data(1000);
            assert!(decode(&mut decoder, &wire, &[cut]).1);
            assert_eq!(decoder.trouble(), trouble, "{octets} cut at {cut}");
        }
    }
}

#[test]
fn chunks_have_no_dots_and_no_end() {
    let mut decoder = Decoder::for_chunks(1000);
    let wire = b".a\r\n.\r\n..\r\n";
    assert_eq!(decode(&mut decoder, wire, &[3]), (wire.to_vec(), false, wire.len()));
    assert_eq!((decoder.finish(), decoder.trouble()), (None, None));
    let mut decoder = Decoder::for_chunks(1000);
    decode(&mut decoder, b"a\r", &[]);
    assert_eq!((decoder.finish(), decoder.trouble()), (Some(&b" "[..]), Some(ContentTrouble::Stray)));
}

fn encode(content: &[u8], cuts: &[usize]) -> Vec<u8> {
    let (mut encoder, mut out, mut from) = (Encoder::new(), Vec::new(), 0);
    for end in cuts.iter().copied().chain([content.len()]) {
        let end = end.clamp(from, content.len());
        encoder.encode(&content[from..end], &mut out);
        from = end;
    }
    encoder.finish(&mut out);
    out
}

#[test]
fn what_leaves() {
    for (content, wire) in [
        (&b""[..], &b".\r\n"[..]),
        (b"a", b"a\r\n.\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.\r\nb", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"a\n.\nb", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"a\r.\rb", b"a . b\r\n.\r\n"),
        (b"a\r", b"a \r\n.\r\n"),
        (b"a\r\r\n", b"a \r\n.\r\n"),
        (b"\n\n.", b"\r\n\r\n..\r\n.\r\n"),
        (b"a\0", b"a \r\n.\r\n"),
    ] {
        for cut in 0..=content.len() {
            assert_eq!(
                encode(content, &[cut]).escape_ascii().to_string(),
                wire.escape_ascii().to_string(),
                "{} cut at {cut}",
                content.escape_ascii()
            );
        }
    }
}

/// Octets in which the interesting ones are frequent.
fn wild() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![4 => Just(b'\r'), 4 => Just(b'\n'), 4 => Just(b'.'), 1 => Just(0_u8), 3 => any::<u8>()], 0..60)
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..60_usize, 0..8).prop_map(|mut cuts| {
        cuts.sort_unstable();
        cuts
    })
}

proptest! {
    #[test]
    fn what_we_encode_any_reader_ends_at_the_end(content in wild(), cuts in cuts()) {
        let wire = encode(&content, &cuts);
        prop_assert_eq!(&wire, &encode(&content, &[]), "cuts do not matter");
        // Judged by hand, not by our own decoder.
        let text = String::from_utf8_lossy(&wire).into_owned();
        for (at, octet) in wire.iter().enumerate() {
            prop_assert!(*octet != 0);
            prop_assert!(*octet != b'\n' || (at > 0 && wire[at - 1] == b'\r'), "bare LF in {:?}", text);
            prop_assert!(*octet != b'\r' || wire.get(at + 1) == Some(&b'\n'), "bare CR in {:?}", text);
        }
        let lines: Vec<&[u8]> = wire.split_inclusive(|octet| *octet == b'\n').collect();
        let (last, before) = lines.split_last().unwrap();
        prop_assert_eq!(*last, b".\r\n");
        prop_assert!(before.iter().all(|line| !line.starts_with(b".") || line.starts_with(b"..")));
    }

    #[test]
    fn encode_then_decode_is_the_content(content in wild(), cuts in cuts()) {
        let clean: Vec<u8> = String::from_utf8_lossy(&content).replace(['\r', '\0'], " ").replace('\n', "\r\n").into_bytes();
        let mut decoder = Decoder::for_data(1000);
        let (got, ended, _) = decode(&mut decoder, &encode(&clean, &cuts), &cuts);
        let mut expected = clean;
        if !expected.is_empty() && !expected.ends_with(b"\r\n") {
            expected.extend_from_slice(b"\r\n");
        }
        prop_assert_eq!((got, ended, decoder.trouble()), (expected, true, None));
    }

    #[test]
    fn cuts_do_not_change_what_is_decoded(wire in wild(), cuts in cuts()) {
        let (mut whole, mut split) = (Decoder::for_data(20), Decoder::for_data(20));
        prop_assert_eq!(decode(&mut whole, &wire, &[]), decode(&mut split, &wire, &cuts));
        prop_assert_eq!(whole.trouble(), split.trouble());
    }
}
