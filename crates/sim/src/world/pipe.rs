//! A connection in memory: two channels with latency, a bounded window, and a breaking point.
//!
//! The relay's end holds back what it is given until it holds much, or is flushed, as TLS does: who reads without having flushed waits for ever.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::book::Fact;
use super::{World, lock};

/// Octets on the way in one direction, as a TCP window bounds them.
const WINDOW_OCTETS: usize = 64 * 1024;

/// Octets that the relay's end holds back.
const HELD_OCTETS: usize = 16 * 1024;

/// One direction.
#[derive(Default)]
struct Channel {
    segments: VecDeque<(Option<Instant>, Vec<u8>)>,
    octets: usize,
    written: u64,
    read: u64,
    /// The writer has ended; the reader sees it then.
    ended: Option<Option<Instant>>,
    /// The connection broke; both sides see it.
    broken: bool,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Where in what was written a positive reply to the end of data is complete: (position, remote, number in its ledger).
    marks: VecDeque<(u64, usize, usize)>,
}

impl Channel {
    fn wake(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }
}

/// What both ends share.
pub(crate) struct Link {
    latency: Duration,
    /// Octets, of both directions together, after which the connection breaks; and who counts that it did.
    breaks_after: Option<(u64, Arc<AtomicU64>)>,
    /// From the near end (the one that dialled) to the far, and back.
    channels: [Mutex<Channel>; 2],
}

/// One end of a connection.
pub(crate) struct End {
    link: Arc<Link>,
    /// The channel this end writes; it reads the other.
    out: usize,
    timer: Option<Pin<Box<Sleep>>>,
    /// The world, when this end is the relay's: a dead relay neither reads nor writes.
    relay: Option<Arc<World>>,
    /// Told when the relay lets go.
    number: Option<u64>,
    /// Written by the relay, and not on its way yet.
    held: Vec<u8>,
}

/// Makes a connection: the end that dialled, and the end that was dialled.
pub(crate) fn connection(latency: Duration, breaks_after: Option<(u64, Arc<AtomicU64>)>) -> (End, End) {
    let link = Arc::new(Link { latency, breaks_after, channels: Default::default() });
    let end = |out| End { link: link.clone(), out, timer: None, relay: None, number: None, held: Vec::new() };
    (end(0), end(1))
}

impl End {
    /// Marks this end as the relay's.
    pub(crate) fn of_relay(mut self, world: Arc<World>, number: Option<u64>) -> Self {
        (self.relay, self.number) = (Some(world), number);
        self
    }

    /// What both ends share, for the end of a life.
    pub(crate) fn link(&self) -> Arc<Link> {
        self.link.clone()
    }

    /// The octets written so far by this end include the whole positive reply to message `nth` of a remote's ledger.
    pub(crate) fn mark(&self, remote: usize, nth: usize) {
        let mut channel = lock(&self.link.channels[self.out]);
        // A reply that the break cut short is never whole.
        if channel.broken {
            return;
        }
        let written = channel.written;
        channel.marks.push_back((written, remote, nth));
    }

    fn is_dead(&self) -> bool {
        self.relay.as_ref().is_some_and(|world| world.switch().is_dead())
    }

    fn confirm(&self, channel: &mut Channel) -> Vec<(usize, usize)> {
        let mut confirmed = Vec::new();
        while channel.marks.front().is_some_and(|(position, ..)| *position <= channel.read) {
            if let Some((_, remote, nth)) = channel.marks.pop_front() {
                confirmed.push((remote, nth));
            }
        }
        confirmed
    }

    fn arm(&mut self, at: Instant, cx: &mut Context<'_>) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx).is_ready()
    }
}

use std::future::Future;

impl Link {
    /// The life has ended: what was on its way to the far end (`to_far`) or to the near one, in order.
    pub(crate) fn on_the_way(&self, to_far: bool) -> Vec<u8> {
        let mut channel = lock(&self.channels[usize::from(!to_far)]);
        channel.segments.drain(..).map(|(_, octets)| octets).collect::<Vec<_>>().concat()
    }

    fn written(&self) -> u64 {
        self.channels.iter().map(|channel| lock(channel).written).sum()
    }

    fn break_off(&self) {
        if let Some((_, broken)) = &self.breaks_after {
            broken.fetch_add(1, Ordering::Relaxed);
        }
        for channel in &self.channels {
            let mut channel = lock(channel);
            channel.broken = true;
            channel.wake();
        }
    }
}

impl AsyncRead for End {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_dead() {
            return Poll::Pending;
        }
        let link = self.link.clone();
        let mut channel = lock(&link.channels[1 - self.out]);
        let ready = match (channel.segments.front(), channel.ended) {
            (Some((at, _)), _) => *at,
            (None, _) if channel.broken => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            (None, Some(at)) => at,
            (None, None) => {
                channel.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
        };
        if let Some(at) = ready.filter(|at| *at > Instant::now())
            && !self.arm(at, cx)
        {
            channel.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let Some((at, mut octets)) = channel.segments.pop_front() else { return Poll::Ready(Ok(())) };
        let count = octets.len().min(buf.remaining());
        buf.put_slice(&octets[..count]);
        channel.octets -= count;
        channel.read += count as u64;
        if count < octets.len() {
            octets.drain(..count);
            channel.segments.push_front((at, octets));
        }
        if let Some(waker) = channel.writer.take() {
            waker.wake();
        }
        let confirmed = self.confirm(&mut channel);
        drop(channel);
        if let Some(world) = &self.relay {
            confirmed.into_iter().for_each(|(remote, nth)| world.note(Fact::Confirmed { remote, nth }));
        }
        Poll::Ready(Ok(()))
    }
}

impl End {
    /// Puts what is held on its way.
    fn let_go(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            let sent = self.send(cx, &held);
            self.held = held;
            let count = ready!(sent)?;
            self.held.drain(..count);
        }
        Poll::Ready(Ok(()))
    }

    /// Puts octets on their way, as many as there is room for.
    fn send(&self, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let room_before_break = self.link.breaks_after.as_ref().map(|(limit, _)| limit.saturating_sub(self.link.written()));
        let mut channel = lock(&self.link.channels[self.out]);
        if channel.broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if channel.reader_gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = WINDOW_OCTETS.saturating_sub(channel.octets);
        if room == 0 {
            channel.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = octets.len().min(room).min(room_before_break.map_or(usize::MAX, |room| room as usize));
        if count > 0 {
            channel.segments.push_back((Some(Instant::now() + self.link.latency), octets[..count].to_vec()));
            channel.octets += count;
            channel.written += count as u64;
            if let Some(waker) = channel.reader.take() {
                waker.wake();
            }
        }
        drop(channel);
        if room_before_break.is_some_and(|room| room as usize <= count) {
            self.link.break_off();
            // What was written before the break is gone or not: nobody is told.
            return Poll::Ready(Ok(octets.len()));
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for End {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_dead() {
            return Poll::Pending;
        }
        if self.relay.is_none() {
            return self.send(cx, octets);
        }
        if self.held.len() >= HELD_OCTETS {
            ready!(self.let_go(cx))?;
        }
        self.held.extend_from_slice(octets);
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_dead() { Poll::Pending } else { self.let_go(cx) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_dead() {
            return Poll::Pending;
        }
        // What cannot be sent any more is lost.
        let _ = ready!(self.let_go(cx));
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl End {
    fn end(&self) {
        let mut channel = lock(&self.link.channels[self.out]);
        if channel.ended.is_none() {
            channel.ended = Some(Some(Instant::now() + self.link.latency));
            channel.wake();
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if self.is_dead() {
            return;
        }
        self.end();
        let mut channel = lock(&self.link.channels[1 - self.out]);
        channel.reader_gone = true;
        channel.wake();
        drop(channel);
        if let (Some(world), Some(connection)) = (&self.relay, self.number) {
            world.closed(connection);
        }
    }
}
