//! Copies of what lives: for compaction, and for the take-over of an old tail.

use postrider_model::MessageId;
use postrider_model::doors::SpoolTrouble;

use crate::forms::State;
use crate::frame::Frame;
use crate::index::{Place, Told};
use crate::reader::{read_diagnosis, read_message};
use crate::slots::Slots;

/// A copy of a message with its states (`whole`), or of what was told of its deliveries alone.
pub(crate) fn copy_of(slots: &Slots, id: MessageId, place: Place, told: &[Told], whole: bool) -> Result<Frame, SpoolTrouble> {
    let mut states = Vec::with_capacity(told.len());
    for delivery in told {
        let diagnosis = read_diagnosis(slots, id, delivery.index, delivery.told_life, delivery.told_offset)?;
        states.push((
            delivery.index,
            State::Live {
                due: delivery.due,
                attempts: delivery.attempts,
                diagnosis,
                delay_told: delivery.delay_told,
                held: delivery.held.clone().filter(|_| whole),
            },
        ));
    }
    if !whole {
        return Ok(Frame::standing(id, &states));
    }
    let (message, form, content) = read_message(slots, id, place, true)?;
    Ok(Frame::checkpoint(&message, form, content, &states))
}
