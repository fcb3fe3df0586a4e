//! Telegram: a bot's message to a chat.
//!
//! The text is plain and its title made bold by an entity: with a markup language, one stray
//! character in a text from outside would have the whole message refused. A chat that became a
//! supergroup has a new id, which the answer tells and the message follows at once; the receiver's
//! `chat` should then be changed.

use serde_json::json;

use super::accepts::{Accepts, Is, Proof};
use super::bounds;
use super::kind::{Call, Order};
use super::settings::Settings;
use super::slack::changes_first;
use super::verdict::{Answer, Verdict, seconds};
use super::wording::Wording;

pub(super) const BASE: &str = "https://api.telegram.org";
/// Characters of a text, counted as UTF-16 like the positions of entities.
const TEXT_MAX: usize = 4096;

pub(super) fn build(order: &Order<'_>) -> Result<Vec<Call>, String> {
    let settings = order.settings;
    let token = settings.needed("token")?;
    let chat = settings.needed("chat")?;
    let wording = Wording::of(order);
    let mut lines = vec![wording.title.clone()];
    lines.extend(wording.body());
    let text = bounds::utf16(&bounds::lines(&lines, TEXT_MAX, 2).join("\n"), TEXT_MAX);
    let bold = wording.title.encode_utf16().count().min(TEXT_MAX);
    let mut message = json!({
        "chat_id": chat,
        "text": text,
        "entities": [{"type": "bold", "offset": 0, "length": bold}],
        "link_preview_options": {"is_disabled": true},
    });
    let url = |method: &str| settings.below(BASE, &format!("/bot{token}/{method}"));
    let before = order.notification.text("reference");
    let before = before.as_deref().and_then(|it| it.rsplit_once(':'));
    let before = before.and_then(|(chat, id)| Some((chat.to_owned(), id.parse::<i64>().ok()?)));
    let mut edit = None;
    if let Some((chat, id)) = before {
        if changes_first(order.notification) {
            let mut body = message.clone();
            body["chat_id"] = chat.clone().into();
            body["message_id"] = id.into();
            let mut call = Call::post("update", url("editMessageText"), &body);
            call.optional = true;
            edit = Some(call);
        }
        message["chat_id"] = chat.into();
        message["reply_parameters"] =
            json!({"message_id": id, "allow_sending_without_reply": true});
    }
    if let Some(thread) = settings.text("thread").and_then(|id| id.parse::<i64>().ok()) {
        message["message_thread_id"] = thread.into();
    }
    if settings.flag("silent") == Some(true) {
        message["disable_notification"] = true.into();
    }
    if let Some(token) = order.ack_token() {
        let button = json!({"text": "Acknowledge", "callback_data": token});
        message["reply_markup"] = json!({"inline_keyboard": [[button]]});
    }
    let send = Call::post("message", url("sendMessage"), &message);
    Ok(std::iter::once(send).chain(edit).collect())
}

pub(super) fn accepts(_: Settings<'_>) -> &'static Accepts {
    const NAMES: &[&str] = &["/result/chat/id", "/result/message_id"];
    const OK: Proof = Proof::Json { member: "/ok", is: Is::True, names: NAMES };
    &const { Accepts { service: "Telegram", proofs: &[OK] } }
}

pub(super) fn refuses(_: Settings<'_>, answer: &Answer) -> Option<Verdict> {
    let body = answer.json();
    if let Some(chat) = body.pointer("/parameters/migrate_to_chat_id") {
        return Some(Verdict::Moved { member: "chat_id", to: chat.clone() });
    }
    let told = body.get("error_code").and_then(serde_json::Value::as_u64)?;
    let after = seconds(body.pointer("/parameters/retry_after")).or(answer.retry_after);
    Some(match u16::try_from(told).unwrap_or(u16::MAX) {
        // An edit that changes nothing.
        400 if answer.body.contains("message is not modified") => Verdict::ok(None),
        429 => Verdict::limited(after, format!("Telegram limits the rate: {}", answer.words())),
        code @ 300.. => Answer { status: code, ..answer.clone() }.by_status(),
        _ => return None,
    })
}
