//! Arbitrary bytes, in arbitrary pieces, into the frame decoder and every message decoder behind it.
#![no_main]

use kdbg::protocol::{
    Decoder, End, Hello, IncomingStream, Kind,
    message::{Failure, FileHead, FileTail, OpenFile, Process, Request, Socket, TreeRecord, from_bytes},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (step, mut bytes) = (usize::from(input.0) + 1, input.1);
    let mut decoder = Decoder::default();
    let mut stream = IncomingStream::default();
    loop {
        match decoder.next_frame() {
            Ok(Some(frame)) => {
                if stream.received(frame.kind, frame.payload).is_err() {
                    stream = IncomingStream::default();
                }
                decode(frame.kind, frame.payload);
            }
            Ok(None) if bytes.is_empty() => return,
            Ok(None) => {
                let (piece, _) = bytes.split_at(step.min(bytes.len()));
                let taken = decoder.push(piece);
                assert!(taken > 0, "a decoder without a whole frame has room");
                bytes = &bytes[taken..];
            }
            Err(_) => return,
        }
    }
});

fn decode(kind: Kind, payload: &[u8]) {
    match kind {
        Kind::Hello => drop(Hello::decode(payload)),
        Kind::Request => drop(from_bytes::<Request>(payload)),
        Kind::End => drop(from_bytes::<End>(payload)),
        Kind::Failure => drop(from_bytes::<Failure>(payload)),
        Kind::Head => drop(from_bytes::<FileHead>(payload)),
        _ => {
            drop(from_bytes::<FileTail>(payload));
            drop(from_bytes::<Vec<Process>>(payload));
            drop(from_bytes::<Vec<TreeRecord>>(payload));
            drop(from_bytes::<Vec<OpenFile>>(payload));
            drop(from_bytes::<Vec<Socket>>(payload));
        }
    }
}
