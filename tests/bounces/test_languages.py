"""Languages: what servers say in the words of their country is read as the same in English."""

from __future__ import annotations

import pytest

from retour_bounces import judge, read

GONE = {
    "ar": ["المستخدم غير موجود", "العنوان غير صالح", "لم يتم العثور على المستلم"],
    "bg": ["Неизвестен потребител", "Пощенската кутия не съществува", "Получателят не е намерен"],
    "cs": ["Uživatel neexistuje", "Neznámý příjemce"],
    "da": ["Ukendt bruger", "Modtageren findes ikke", "Brugeren blev ikke fundet"],
    "de": ["Unbekannter Empfänger", "Das Postfach existiert nicht"],
    "el": ["Άγνωστος χρήστης", "Ο παραλήπτης δεν υπάρχει", "Η διεύθυνση δεν βρέθηκε", "ΑΓΝΩΣΤΟΣ ΠΑΡΑΛΗΠΤΗΣ"],
    "es": ["Usuario desconocido", "El buzón no existe", "Cuenta inexistente"],
    "et": ["Tundmatu kasutaja", "Kasutajat ei leitud", "Sellist aadressi ei ole olemas"],
    "fi": ["Tuntematon käyttäjä", "Vastaanottajaa ei löydy", "Osoitetta ei ole olemassa"],
    "fr": ["Utilisateur inconnu", "Cette adresse n'existe pas", "Destinataire introuvable"],
    "he": ["משתמש לא קיים", "הנמען לא נמצא", "כתובת לא קיימת"],
    "hr": ["Nepoznati korisnik", "Primatelj ne postoji", "Adresa nije pronađena"],
    "hu": ["Nincs ilyen felhasználó", "Ismeretlen címzett", "A postafiók nem létezik", "A felhasználó nem található"],
    "id": ["Pengguna tidak dikenal", "Alamat tidak ditemukan", "Kotak surat tidak ada"],
    "it": ["Utente sconosciuto", "La casella non esiste", "Destinatario errato"],
    "ja": ["ユーザーが見つかりません", "宛先が存在しません"],
    "ko": ["존재하지 않는 사용자입니다", "수신자를 찾을 수 없습니다"],
    "lt": ["Nežinomas vartotojas", "Gavėjas nerastas", "Pašto dėžutė neegzistuoja"],
    "lv": ["Nezināms lietotājs", "Adresāts nav atrasts", "Šāda pastkaste neeksistē"],
    "nl": ["Gebruiker onbekend", "Dit adres bestaat niet"],
    "no": ["Ukjent mottaker", "Brukeren finnes ikke"],
    "pl": ["Nieznany użytkownik", "Odbiorca nie istnieje"],
    "pt": ["Usuário desconhecido", "A conta não existe"],
    "ro": ["Utilizator necunoscut", "Căsuța nu există", "Adresa nu a fost găsită", "Contul nu există"],
    "ru": ["Пользователь не найден", "Такого адреса нет"],
    "sk": ["Neznámy používateľ", "Príjemca neexistuje"],
    "sl": ["Neznan uporabnik", "Poštni predal ne obstaja", "Prejemnika ni mogoče najti"],
    "sr": ["Непознат корисник", "Прималац не постоји"],
    "sv": ["Okänd mottagare", "Användaren finns inte", "Det gick inte att hitta adressen"],
    "th": ["ไม่พบผู้ใช้", "ไม่มีผู้รับ"],
    "tr": ["Bilinmeyen kullanıcı", "Alıcı bulunamadı"],
    "uk": ["Користувача не знайдено", "Невідомий одержувач", "Скринька не існує"],
    "vi": ["Người dùng không tồn tại", "Không tìm thấy người nhận", "Địa chỉ không hợp lệ"],
    "zh": ["该用户不存在", "该用户未开通邮箱", "邮箱不存在"],
}
FULL = {
    "ar": "صندوق البريد ممتلئ",
    "bg": "Пощенската кутия е пълна",
    "cs": "Schránka je plná",
    "da": "Postkassen er fuld",
    "de": "Postfach voll",
    "el": "Το γραμματοκιβώτιο είναι γεμάτο",
    "es": "El buzón está lleno",
    "et": "Postkast on täis",
    "fi": "Postilaatikko on täynnä",
    "fr": "La boîte est pleine",
    "he": "תיבת הדואר מלאה",
    "hr": "Sandučić je pun",
    "hu": "A postafiók megtelt",
    "id": "Kotak surat penuh",
    "it": "Casella piena",
    "ja": "メールボックスがいっぱいです",
    "ko": "수신자의 메일함이 가득 찼습니다",
    "lt": "Pašto dėžutė perpildyta",
    "lv": "Pastkaste ir pilna",
    "nl": "Postvak is vol",
    "no": "Innboksen er full",
    "pl": "Skrzynka pełna",
    "pt": "A caixa postal está cheia",
    "ro": "Căsuța poștală este plină",
    "ru": "Почтовый ящик переполнен",
    "sl": "Poštni predal je poln",
    "sr": "Сандуче је пуно, прекорачена квота",
    "sv": "Brevlådan är full",
    "th": "กล่องจดหมายเต็ม",
    "tr": "Posta kutusu dolu",
    "uk": "Скринька переповнена",
    "vi": "Hộp thư đã đầy",
    "zh": "收件人空间不足",
}
SHUT = {
    "ar": "الحساب معطل",
    "bg": "Акаунтът е деактивиран",
    "el": "Ο λογαριασμός έχει απενεργοποιηθεί",
    "et": "Konto on blokeeritud",
    "fi": "Tili on poistettu käytöstä",
    "he": "החשבון מושבת",
    "hr": "Račun je onemogućen",
    "hu": "A fiók letiltva",
    "id": "Akun dinonaktifkan",
    "ja": "このアカウントは利用停止です",
    "ko": "휴면 계정입니다",
    "lt": "Paskyra užblokuota",
    "lv": "Konts ir bloķēts",
    "ro": "Cont suspendat",
    "sl": "Račun je onemogočen",
    "sv": "Kontot är avstängt",
    "uk": "Обліковий запис заблоковано",
    "vi": "Tài khoản đã bị vô hiệu hóa",
    "zh": "该邮箱已被禁用",
}
SENDER = {
    "ar": "المرسل غير معروف",
    "bg": "Неизвестен подател",
    "el": "Άγνωστος αποστολέας",
    "et": "Tundmatu saatja",
    "he": "השולח לא קיים",
    "hr": "Nepoznat pošiljatelj",
    "hu": "Ismeretlen feladó",
    "id": "Pengirim tidak dikenal",
    "lt": "Nežinomas siuntėjas",
    "lv": "Nezināms sūtītājs",
    "ro": "Expeditor necunoscut",
    "sl": "Neznan pošiljatelj",
    "sv": "Okänd avsändare",
    "uk": "Невідомий відправник",
    "vi": "Người gửi không tồn tại",
}


def of(table: dict[str, str]) -> list[tuple[str, str]]:
    """A table of words by language, as parameters."""
    return sorted(table.items())


@pytest.mark.parametrize(("language", "words"), [(name, one) for name, words in sorted(GONE.items()) for one in words])
def test_no_such_mailbox_is_understood(language: str, words: str) -> None:
    """Whatever the language, the recipient is unknown, for good."""
    for reply in (f"550 {words}", f"550 5.0.0 {words}: <bob@example.com>", f"554 <bob@example.com>: {words}"):
        said = judge(reply)
        assert (said.reason, said.blame, said.type) == ("userunknown", "recipient", "hard"), (language, reply)


@pytest.mark.parametrize(("language", "words"), of(FULL))
def test_a_full_mailbox_is_understood(language: str, words: str) -> None:
    """Whatever the language, there is no room for now, also where the address stands between."""
    for reply in (f"552 {words}", f"550 5.0.0 {words}: <bob@example.com>"):
        said = judge(reply)
        assert (said.reason, said.blame, said.type) == ("mailboxfull", "recipient", "soft"), (language, reply)


@pytest.mark.parametrize(("language", "words"), of(SHUT))
def test_a_mailbox_that_is_shut_is_understood(language: str, words: str) -> None:
    """Whatever the language, the account is there and takes no mail."""
    said = judge(f"550 5.2.1 {words}")
    assert (said.rule is not None, said.reason, said.blame, said.type) == (True, "suspend", "recipient", "soft"), (
        language
    )


@pytest.mark.parametrize(("language", "words"), of(SENDER))
def test_an_unknown_sender_is_no_unknown_recipient(language: str, words: str) -> None:
    """The same predicate said of the sender blames no recipient."""
    said = judge(f"550 {words}")
    assert said.blame != "recipient", language


EXCHANGE = {
    "ar": ("غير قابل للتسليم: News", "فشل التسليم إلى هؤلاء المستلمين أو المجموعات:"),
    "bg": ("Недоставимо: News", "Неуспешна доставка до тези получатели или групи:"),
    "ca": ("No es pot lliurar: News", "Ha fallat el lliurament a aquests destinataris o grups:"),
    "el": ("Ανεπίδοτο: News", "Η παράδοση απέτυχε σε αυτούς τους παραλήπτες ή ομάδες:"),
    "et": ("Kättetoimetamatu: News", "Kohaletoimetamine järgmistele adressaatidele või rühmadele nurjus:"),
    "fi": ("Toimittamaton: News", "Toimitus seuraaville vastaanottajille tai ryhmille epäonnistui:"),
    "he": ("לא ניתן למסירה: News", "המסירה לנמענים או לקבוצות אלה נכשלה:"),
    "hr": ("Neisporučivo: News", "Isporuka sljedećim primateljima ili grupama nije uspjela:"),
    "hu": ("Kézbesíthetetlen: News", "A kézbesítés nem sikerült a következő címzetteknek vagy csoportoknak:"),
    "id": ("Tidak terkirim: News", "Pengiriman gagal ke penerima atau grup ini:"),
    "lt": ("Nepristatoma: News", "Nepavyko pristatyti šiems gavėjams arba grupėms:"),
    "lv": ("Nevar piegādāt: News", "Neizdevās piegādāt šiem adresātiem vai grupām:"),
    "no": ("Kan ikke leveres: News", "Levering til disse mottakerne eller gruppene mislyktes:"),
    "ro": ("Nelivrabil: News", "Livrarea nu a reușit la acești destinatari sau grupuri:"),
    "sk": ("Nedoručiteľné: News", "Doručenie týmto príjemcom alebo skupinám zlyhalo:"),
    "sl": ("Ni mogoče dostaviti: News", "Dostava tem prejemnikom ali skupinam ni uspela:"),
    "sv": ("Olevererbart: News", "Det gick inte att leverera till följande mottagare eller grupper:"),
    "th": ("ส่งไม่สำเร็จ: News", "การส่งไปยังผู้รับหรือกลุ่มเหล่านี้ล้มเหลว:"),
    "tr": ("Teslim Edilemedi: News", "Bu alıcılara veya gruplara teslimat başarısız oldu:"),
    "uk": ("Не доставлено: News", "Не вдалося доставити повідомлення таким одержувачам або групам:"),
    "vi": ("Không thể gửi: News", "Gửi thư không thành công đến những người nhận hoặc nhóm này:"),
}


@pytest.mark.parametrize("sender", ["postmaster@example.com", "Exchange <system@example.com>"])
@pytest.mark.parametrize("language", sorted(EXCHANGE))
def test_the_report_of_exchange_is_read_in_each_language(language: str, sender: str) -> None:
    """Of which a gateway left the text alone, from a mail system or from an address that nobody knows."""
    subject, words = EXCHANGE[language]
    path = "<>" if "postmaster" not in sender else "<postmaster@example.com>"
    message = (
        f"Return-Path: {path}\nFrom: {sender}\nTo: us@example.org\nSubject: {subject}\nMIME-Version: 1.0\n"
        f"Content-Type: text/plain; charset=utf-8\n\n{words}\n\nbob@example.com<mailto:bob@example.com>\n\n"
        "AM0PR01.example\n\nbob@example.com\nRemote Server returned '550 5.1.1 RESOLVER.ADR.RecipNotFound; not found'\n"
    )
    found = read(message.encode())
    assert [(one.recipient, one.reason, one.type) for one in found.reports] == [
        ("bob@example.com", "userunknown", "hard")
    ]
