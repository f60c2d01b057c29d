//! Requests of several threads, of which one does the work for all that have come: what takes a lock or a turn is then
//! done once for many, and a thread sleeps once for its request, not once for each lock.
//!
//! Whoever comes while nobody leads, leads. A leader takes what waits, gives up the lead as soon as others may work
//! (the first who waits then leads), and answers. Invariants: each request is taken once and answered once, and while
//! requests wait there is a leader, or one of those who wait has been told to lead. A leader that panics answers
//! nobody falsely: its requests fail, and the next one leads.

use crate::sync::{Condvar, Mutex};
use std::sync::Arc;

/// Who waits, and whether somebody leads.
#[derive(Debug)]
pub(crate) struct Queue<R, A> {
    line: Mutex<Line<R, A>>,
}

#[derive(Debug)]
struct Line<R, A> {
    waiting: Vec<Arc<Place<R, A>>>,
    led: bool,
}

/// A request in the queue, and the answer to it.
#[derive(Debug)]
pub(crate) struct Place<R, A> {
    slot: Mutex<Slot<R, A>>,
    changed: Condvar,
}

#[derive(Debug)]
enum Slot<R, A> {
    /// Not taken yet; told to lead, or not.
    Waiting {
        request: R,
        lead: bool,
    },
    /// Being worked on.
    Taken,
    Answered(A),
    /// Whoever took it panicked.
    Lost,
}

/// What became of a request.
pub(crate) enum Entered<'a, R: Send, A: Send> {
    /// Somebody answered it.
    Answered(A),
    /// The one who answers panicked.
    Lost,
    /// The caller leads, its own request being the first that waits.
    Leads(Lead<'a, R, A>),
}

/// The right, and the duty, to take requests.
pub(crate) struct Lead<'a, R: Send, A: Send> {
    queue: &'a Queue<R, A>,
    own: Arc<Place<R, A>>,
    given_up: bool,
}

/// A request that was taken: to be answered.
pub(crate) struct Duty<R: Send, A: Send> {
    place: Arc<Place<R, A>>,
    answered: bool,
}

impl<R, A> Default for Queue<R, A> {
    fn default() -> Queue<R, A> {
        Queue { line: Mutex::new(Line { waiting: Vec::new(), led: false }) }
    }
}

impl<R: Send, A: Send> Queue<R, A> {
    /// Enters a request and waits until it is answered, or until the caller must lead.
    pub(crate) fn enter(&self, request: R) -> Entered<'_, R, A> {
        let place = Arc::new(Place {
            slot: Mutex::new(Slot::Waiting { request, lead: false }),
            changed: Condvar::new(),
        });
        let mut line = self.line.lock();
        line.waiting.push(Arc::clone(&place));
        let leads = !line.led;
        line.led = true;
        drop(line);
        if leads { Entered::Leads(self.lead(place)) } else { self.wait(place) }
    }

    fn lead(&self, own: Arc<Place<R, A>>) -> Lead<'_, R, A> {
        Lead { queue: self, own, given_up: false }
    }

    fn wait(&self, place: Arc<Place<R, A>>) -> Entered<'_, R, A> {
        let mut slot = place.slot.lock();
        loop {
            match &*slot {
                Slot::Waiting { lead: true, .. } => {
                    drop(slot);
                    return Entered::Leads(self.lead(place));
                }
                Slot::Waiting { .. } | Slot::Taken => place.changed.wait(&mut slot),
                Slot::Lost => return Entered::Lost,
                Slot::Answered(_) => return take_answer(&mut slot),
            }
        }
    }

    /// Lets the first who waits lead, or the next who comes.
    fn give_up_lead(&self) {
        let mut line = self.line.lock();
        let next = line.waiting.first().cloned();
        line.led = next.is_some();
        drop(line);
        if let Some(place) = next {
            let mut slot = place.slot.lock();
            if let Slot::Waiting { lead, .. } = &mut *slot {
                *lead = true;
            }
            drop(slot);
            place.changed.notify_one();
        }
    }
}

fn take_answer<'a, R: Send, A: Send>(slot: &mut Slot<R, A>) -> Entered<'a, R, A> {
    match std::mem::replace(slot, Slot::Lost) {
        Slot::Answered(answer) => Entered::Answered(answer),
        _ => Entered::Lost,
    }
}

impl<R: Send, A: Send> Lead<'_, R, A> {
    /// Takes all requests that wait, in the order they came.
    pub(crate) fn take(&self) -> Vec<(R, Duty<R, A>)> {
        let places = std::mem::take(&mut self.queue.line.lock().waiting);
        let take = |place: Arc<Place<R, A>>| {
            let taken = std::mem::replace(&mut *place.slot.lock(), Slot::Taken);
            match taken {
                Slot::Waiting { request, .. } => Some((request, Duty { place, answered: false })),
                _ => None,
            }
        };
        places.into_iter().filter_map(take).collect()
    }

    /// Lets others lead while this one goes on with what it took.
    pub(crate) fn give_up(&mut self) {
        self.given_up = true;
        self.queue.give_up_lead();
    }

    /// The answer to the caller's own request, once all are answered.
    pub(crate) fn own_answer(self) -> Entered<'static, R, A> {
        take_answer(&mut self.own.slot.lock())
    }
}

impl<R: Send, A: Send> Drop for Lead<'_, R, A> {
    fn drop(&mut self) {
        if !self.given_up {
            self.queue.give_up_lead();
        }
    }
}

impl<R: Send, A: Send> Duty<R, A> {
    /// Answers the request.
    pub(crate) fn answer(mut self, answer: A) {
        self.answered = true;
        self.settle(Slot::Answered(answer));
    }

    fn settle(&self, outcome: Slot<R, A>) {
        *self.place.slot.lock() = outcome;
        self.place.changed.notify_one();
    }
}

impl<R: Send, A: Send> Drop for Duty<R, A> {
    fn drop(&mut self) {
        if !self.answered {
            self.settle(Slot::Lost);
        }
    }
}
