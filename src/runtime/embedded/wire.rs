//! The socket between us and the child of a container: first three descriptors, then the launch as length and JSON.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use super::child::Launch;

/// No launch is near this large.
const MAX_LAUNCH: u32 = 64 << 20;

/// Sends descriptors along with one byte.
pub fn send_descriptors(socket: impl AsFd, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    sendmsg(socket, &[IoSlice::new(b"d")], &mut ancillary, SendFlags::empty())?;
    Ok(())
}

/// Receives up to three descriptors with the bytes they came along with; none of them survives an `exec`.
pub fn receive_descriptors(socket: impl AsFd) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut received = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            received.extend(descriptors);
        }
    }
    Ok(received)
}

/// The bytes of a launch as they go over the socket after the descriptors.
pub fn encode(launch: &Launch) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(launch)?;
    let length = u32::try_from(json.len()).ok().filter(|length| *length <= MAX_LAUNCH);
    let length =
        length.ok_or_else(|| io::Error::other("the environment and arguments of the container are too large"))?;
    Ok([&length.to_be_bytes(), json.as_slice()].concat())
}

/// What the child does first: its launch, and standard input, output and error of the job.
pub fn receive(socket: &mut UnixStream) -> io::Result<(Launch, [OwnedFd; 3])> {
    let descriptors = receive_descriptors(&*socket)?;
    let descriptors =
        <[OwnedFd; 3]>::try_from(descriptors).map_err(|_| io::Error::other("three descriptors were expected"))?;
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_LAUNCH {
        return Err(io::Error::other("the launch is too large"));
    }
    let mut json = Vec::new();
    Read::take(&mut *socket, u64::from(length)).read_to_end(&mut json)?;
    Ok((serde_json::from_slice(&json)?, descriptors))
}
