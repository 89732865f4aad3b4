from __future__ import annotations

from datetime import UTC, datetime

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.brain_turns import Talk, agent, call, caller, calls, deeds, function, result, system, turn, words

from realtime_bridge.localmodel.brains.agent import QUESTIONS_MAX, AgentBrain
from realtime_bridge.localmodel.parts import CallTool, Say

NOW = datetime(2026, 11, 18, 10, 0, tzinfo=UTC)  # a Wednesday
GREETING = "Hello, how can I help you?"
TEXT = {"type": "string"}


def brain():
    return AgentBrain(lambda: NOW)


SHOP = [
    function(
        "refund_order",
        "Refund an order: give the money back.",
        order_id={"type": "string", "description": "The order's number"},
        reason={"type": "string", "description": "Why the customer wants the money back"},
    ),
    function("find_order", "Tell the status of an order.", order_id={"type": "string"}),
    function("check_opening_hours", "When the shop is open.", day={"type": "string", "description": "Day of the week"}),
    function("transfer_to_billing", "Handoff to the Billing agent to handle the request. Invoices and payments."),
    function("transfer_to_technical_support", "Handoff to the Technical support agent to handle the request."),
]
SALON = [
    function(
        "book_appointment",
        "Book an appointment with a stylist.",
        service={"type": "string", "enum": ["haircut", "colouring", "beard_trim"]},
        time={"type": "string", "description": "When the customer wants to come"},
    ),
    function("cancel_appointment", "Cancel an appointment.", phone_number=TEXT),
]
RESTAURANT = [
    function(
        "reserve_table",
        "Reserve a table.",
        party_size={"type": "integer", "minimum": 1, "maximum": 12, "description": "Number of people"},
        date={"type": "string", "format": "date"},
        time={"type": "string", "format": "time"},
    ),
    function(
        "order_pizza",
        "Order a pizza to take away.",
        ["size"],
        size={"type": "string", "enum": ["small", "medium", "large"]},
        extra_cheese={"type": "boolean"},
        quantity={"type": "integer", "default": 1},
    ),
]
BANK = [
    function(
        "transfer_money",
        "Send money to somebody's account.",
        amount={"type": "number", "exclusiveMinimum": 0, "description": "Amount in dollars"},
        account_number={"type": "string", "pattern": "^[0-9]{6,10}$"},
    ),
    function(
        "get_balance", "Balance of the caller's account.", account={"type": "string", "enum": ["checking", "savings"]}
    ),
]
KNOWLEDGE = [
    function("search_knowledge", "Search the handbook for an answer.", query=TEXT),
    function("get_weather", "Get the current weather.", city={"type": "string"}),
]


@pytest.mark.parametrize(
    ("tools", "heard", "expected"),
    [
        (SHOP, "Where'd my order b7731?", CallTool("find_order", {"order_id": "B7731"})),
        (SHOP, "Can you track order number a ten forty two?", CallTool("find_order", {"order_id": "A1042"})),
        (SHOP, "When are you open on Sunday?", CallTool("check_opening_hours", {"day": "Sunday"})),
        (SHOP, "What are your opening ours on Saturday?", CallTool("check_opening_hours", {"day": "Saturday"})),
        (
            SHOP,
            "I want to refund for order one zero for two please, because it arrived too late.",
            CallTool("refund_order", {"order_id": "1042", "reason": "it arrived too late"}),
        ),
        (
            SHOP,
            "I'd like my money back for order A 1042 because the box was open.",
            CallTool("refund_order", {"order_id": "A1042", "reason": "the box was open"}),
        ),
        (SHOP, "I want to speak to someone about my bill.", CallTool("transfer_to_billing", {})),
        (SHOP, "Can you put me through to billing please?", CallTool("transfer_to_billing", {})),
        (SHOP, "Transfer me to technical suport.", CallTool("transfer_to_technical_support", {})),
        (SHOP, "I have a question about an invoice.", CallTool("transfer_to_billing", {})),
        (
            SALON,
            "Can I book a hair cut on Friday at 10:30 a.m.?",
            CallTool("book_appointment", {"service": "haircut", "time": "Friday at 10:30 a.m."}),
        ),
        (
            SALON,
            "I'd like to book an appointment for a beard trim tomorrow at half-past three.",
            CallTool("book_appointment", {"service": "beard_trim", "time": "tomorrow at half-past three"}),
        ),
        (
            SALON,
            "Please cancel my appointment, my phone number is five five five oh one double two.",
            CallTool("cancel_appointment", {"phone_number": "5550122"}),
        ),
        (
            RESTAURANT,
            "A table for four people tomorrow at seven in the evening please.",
            CallTool("reserve_table", {"party_size": 4, "date": "2026-11-19", "time": "19:00:00+00:00"}),
        ),
        (
            RESTAURANT,
            "I want to reserve a table on the fifth of March at noon for two people.",
            CallTool("reserve_table", {"party_size": 2, "date": "2027-03-05", "time": "12:00:00+00:00"}),
        ),
        (
            RESTAURANT,
            "I would like to order two large pizzas with extra cheese.",
            CallTool("order_pizza", {"size": "large", "extra_cheese": True}),
        ),
        (
            RESTAURANT,
            "A small pizza without extra cheese, please.",
            CallTool("order_pizza", {"size": "small", "extra_cheese": False}),
        ),
        (
            BANK,
            "Send twenty five dollars to account number one two three four five six.",
            CallTool("transfer_money", {"amount": 25, "account_number": "123456"}),
        ),
        (
            BANK,
            "I want to send money to account 12345678, the amount is $19.99.",
            CallTool("transfer_money", {"amount": 19.99, "account_number": "12345678"}),
        ),
        (
            BANK,
            "I want to send $25 to account one, two, three, four, five, six.",
            CallTool("transfer_money", {"amount": 25, "account_number": "123456"}),
        ),
        (BANK, "What is the balance of my savings account?", CallTool("get_balance", {"account": "savings"})),
        (KNOWLEDGE, "What's the weather in New York?", CallTool("get_weather", {"city": "New York"})),
        (
            KNOWLEDGE,
            "Search the handbook for parental leave.",
            CallTool("search_knowledge", {"query": "Search the handbook for parental leave."}),
        ),
    ],
)
def test_an_utterance_that_says_it_all_calls_the_tool(tools, heard, expected):
    done = deeds(brain(), turn([agent(GREETING), caller(heard)], tools))
    assert calls(done) == [expected]
    assert words(done)  # the caller is told what is being done


@pytest.mark.parametrize("tools", [SHOP, SALON, RESTAURANT, BANK])
@pytest.mark.parametrize(
    "heard",
    [
        "Hello.",
        "Tell me a joke.",
        "My name is John Smith.",
        "I have changed my mind.",
        "Thank you very much.",
        "Good-by.",
        "On the fifth of March.",
        "What can you do?",
        "My dog has eaten something really strange this morning.",
        "uh",
        "Yes.",
        "No, thank you.",
        "Four.",
    ],
)
def test_chatter_calls_nothing(tools, heard):
    done = deeds(brain(), turn([agent(GREETING), caller(heard)], tools))
    assert calls(done) == []
    assert words(done)


def test_what_is_missing_is_asked_for_one_at_a_time():
    talk = Talk(brain(), SHOP, results={"refund_order": {"status": "refunded", "amount": 20.0}})
    assert talk.hear("I want my money back.") == "All right, refund order. What is the order's number?"
    assert talk.hear("It's A ten forty two.") == "Can you tell me why you want the money back?"
    assert talk.hear("Because it arrived broken, sorry.") == (
        "I understood: refund order, with order id A1042 and reason it arrived broken, sorry. One moment, please."
        " Status: refunded, amount: 20. Is there anything else I can do for you?"
    )
    assert talk.called == [CallTool("refund_order", {"order_id": "A1042", "reason": "it arrived broken, sorry"})]
    assert talk.hear("No, thank you.") == "All right. Thank you for calling. Goodbye!"


def test_a_fresh_brain_goes_on_in_the_middle_of_a_conversation():
    talk = Talk(brain(), SHOP)
    talk.hear("I want my money back.")
    talk.brain = brain()
    talk.hear("A ten forty two.")
    talk.brain = brain()
    talk.hear("It was cold.")
    assert talk.called == [CallTool("refund_order", {"order_id": "A1042", "reason": "cold"})]


def test_an_answer_is_read_as_what_was_asked_for():
    talk = Talk(brain(), RESTAURANT)
    assert talk.hear("I'd like to reserve a table.") == "All right, reserve table. What is the number of people?"
    assert talk.hear("Four.") == "What is the date?"
    assert talk.hear("Next Tuesday.") == "What is the time?"
    said = talk.hear("Seven thirty in the evening.")
    assert "party size 4, date Tuesday, November 24 and time 7:30 p.m. One moment, please." in said
    assert talk.called == [
        CallTool("reserve_table", {"party_size": 4, "date": "2026-11-24", "time": "19:30:00+00:00"}),
    ]


def test_a_date_and_a_time_may_come_one_by_one():
    tools = [function("schedule_visit", "Schedule a visit.", when={"type": "string", "format": "date-time"})]
    talk = Talk(brain(), tools)
    assert talk.hear("I want to schedule a visit tomorrow.") == "All right, schedule visit. What is the when?"
    assert "with when Thursday, November 19 at 3 p.m. One moment" in talk.hear("At three.")
    assert talk.called == [CallTool("schedule_visit", {"when": "2026-11-19T15:00:00+00:00"})]


def test_a_value_its_schema_refuses_is_asked_for_again_and_then_given_up():
    talk = Talk(brain(), RESTAURANT)
    talk.hear("I'd like to reserve a table tomorrow at noon.")
    answers = [talk.hear("Forty people.") for _ in range(QUESTIONS_MAX)]
    assert answers[0] == "I am sorry, I did not get that. I need a number. What is the number of people?"
    assert answers[-1].startswith("I am sorry, I cannot make that out.")
    assert talk.called == []
    assert words(deeds(brain(), turn([*talk.items, caller("Hello?")], RESTAURANT))) == GREETING  # nothing is open


def test_the_caller_may_leave_a_request():
    talk = Talk(brain(), SHOP)
    talk.hear("I want my money back.")
    assert talk.hear("Never mind.") == "All right. What else can I do for you?"
    assert talk.hear("A ten forty two.").startswith("I understood: A ten forty two.")
    talk.hear("I want my money back.")
    talk.hear("When are you open on Sunday?")
    talk.hear("I want my money back for A1042.")
    talk.hear("Put me through to billing, please.")
    assert [made.name for made in talk.called] == ["check_opening_hours", "transfer_to_billing"]


def test_a_request_that_was_interrupted_before_the_call_is_made_good():
    asked = [agent(GREETING), caller("Where is my order B7731?"), agent("I understood:")]
    assert calls(deeds(brain(), turn([*asked, caller("Hello?")], SHOP))) == [
        CallTool("find_order", {"order_id": "B7731"})
    ]
    corrected = deeds(brain(), turn([*asked, caller("Sorry, it is order B7732.")], SHOP))
    assert calls(corrected) == [CallTool("find_order", {"order_id": "B7732"})]
    assert calls(deeds(brain(), turn([*asked, caller("No, never mind.")], SHOP))) == []


def test_words_are_said_again_on_request():
    items = [caller("Tell me a joke."), agent("From nine to five."), caller("Can you say that again, please?")]
    assert words(deeds(brain(), turn(items, SHOP))) == "From nine to five."


@pytest.mark.parametrize(
    ("instructions", "greeting"),
    [
        ("", GREETING),
        (
            'Greet the caller with "Welcome to Acme, what can I do for you?" Be brief.',
            "Welcome to Acme, what can I do for you?",
        ),
        ("Start every call with: “Good day, Acme here.”", "Good day, Acme here."),
        ("Answer the phone with 'Acme, it's me.' and don't be rude.", "Acme, it's me."),
        ("You sell \"Acme\" tools. Don't mention the customer's name.", GREETING),
    ],
)
def test_a_call_begins_with_the_greeting_that_the_instructions_quote(instructions, greeting):
    assert deeds(brain(), turn([], SHOP, instructions)) == [Say(greeting)]
    assert deeds(brain(), turn([system("The caller is known.")], SHOP, instructions)) == [Say(greeting)]
    assert deeds(brain(), turn([agent("This call is recorded.")], SHOP, instructions)) == [Say(greeting)]


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("Your order is on its way.", "Your order is on its way."),
        ('"shipped"', "Shipped."),
        ({"message": "It ships today", "id": 7}, "It ships today."),
        ({"status": "in_transit", "days_left": 2, "note": None}, "Status: in_transit, days left: 2."),
        ({"items": ["a", "b", "c", "d", "e"]}, "Items: a, b, c and 2 more."),
        ([{"day": "Monday", "open": True}], "Day: Monday, open: yes."),
        (True, "Yes."),
        (12.0, "12."),
        ("", "That is done."),
        ({"error": "no such order"}, "I am sorry, that did not work: No such order."),
        ("Error: timed out", "I am sorry, that did not work: Timed out."),
    ],
)
def test_a_tools_result_is_read_out(output, sentence):
    done = deeds(brain(), turn([caller("Where is order B7?"), call("find_order"), result(output)], SHOP))
    assert words(done) == f"{sentence} Is there anything else I can do for you?"


def test_a_call_that_was_handed_over_is_greeted_and_goes_on_with_the_request():
    talk = Talk(brain(), SHOP[:1])
    talk.items = [
        caller("I want to talk to someone about a refund for order B7731."),
        call("transfer_to_refunds", "t"),
        result({"assistant": "Refunds"}, "t"),
    ]
    assert talk.answer() == (
        "Hello, this is Refunds. All right, refund order, with order id B7731."
        " Can you tell me why you want the money back?"
    )
    talk.hear("It was broken.")
    assert talk.called == [CallTool("refund_order", {"order_id": "B7731", "reason": "broken"})]


def test_a_call_that_was_handed_over_without_a_clear_request_is_greeted():
    items = [caller("Put me through to refunds."), call("transfer_to_refunds"), result({"assistant": "Refunds"})]
    assert words(deeds(brain(), turn(items, SALON, 'Greet with "Refund desk, good day."'))) == (
        "Refund desk, good day. How can I help you?"
    )


def test_nothing_is_said_after_hanging_up():
    items = [caller("Goodbye."), agent("Goodbye!"), call("end_call"), result("ok")]
    assert deeds(brain(), turn(items, [function("end_call")])) == []


def test_a_handed_over_call_is_never_handed_on_at_once():
    back = [function("transfer_to_front_desk", "Handoff to the Front desk agent."), function("transfer_to_billing")]
    items = [caller("Put me through to billing."), call("transfer_to_billing_office"), result({"assistant": "Billing"})]
    assert calls(deeds(brain(), turn(items, back))) == []


def test_tools_can_be_forbidden_required_or_named():
    asked = [agent(GREETING), caller("Where is my order B7731?")]
    assert calls(deeds(brain(), turn(asked, SHOP, tool_choice="none"))) == []
    named = {"type": "function", "name": "check_opening_hours"}
    assert calls(deeds(brain(), turn([caller("Sunday?")], SHOP, tool_choice=named))) == [
        CallTool("check_opening_hours", {"day": "Sunday"}),
    ]
    required = deeds(brain(), turn([caller("Is it nice there?")], SHOP[3:], tool_choice="required"))
    assert len(calls(required)) == 1


def test_a_goodbye_hangs_up_where_there_is_a_tool_for_it():
    done = deeds(brain(), turn([agent(GREETING), caller("Thank you, goodbye.")], [*SHOP, function("end_call")]))
    assert done == [Say("Thank you for calling. Goodbye!"), CallTool("end_call", {})]


def test_silence_and_waiting_are_answered():
    asked = [agent(GREETING), caller("Where is my order B7731?"), call("find_order")]
    assert words(deeds(brain(), turn(asked, SHOP))) == "One moment, please."
    assert words(deeds(brain(), turn(asked, SHOP, 'Say: "Still looking."'))) == "Still looking."
    assert words(deeds(brain(), turn([agent(GREETING), caller(None)], SHOP))).endswith("Are you still there?")
    open_question = [caller("Where is my order?"), agent("What is the order id?"), caller(None)]
    assert words(deeds(brain(), turn(open_question, SHOP))).endswith("What is the order id?")


def test_schemas_of_pydantic_and_strict_mode_are_understood():
    address = {"type": "object", "properties": {"city": TEXT, "zip_code": TEXT}, "required": ["city", "zip_code"]}
    tool = {
        "type": "function",
        "name": "change_address",
        "description": "Change the caller's address.",
        "parameters": {
            "$defs": {"Address": address, "Kind": {"enum": ["home", "work"], "type": "string"}},
            "type": "object",
            "properties": {
                "address": {"$ref": "#/$defs/Address"},
                "kind": {"allOf": [{"$ref": "#/$defs/Kind"}], "description": "Which address"},
                "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "notify": {"type": ["boolean", "null"]},
                "source": {"const": "phone"},
            },
            "required": ["address", "kind", "note", "notify", "source"],
            "additionalProperties": False,
        },
    }
    talk = Talk(brain(), [tool])
    assert (
        talk.hear("I want to change my home address.") == "All right, change address, with kind home. What is the city?"
    )
    assert talk.hear("Paris, please.") == "What is the zip code?"
    talk.hear("seven five zero zero one")
    assert talk.called == [
        CallTool(
            "change_address",
            {
                "address": {"city": "Paris", "zip_code": "75001"},
                "kind": "home",
                "note": None,
                "notify": None,
                "source": "phone",
            },
        )
    ]


def test_a_tool_that_cannot_be_filled_by_voice_is_not_called(caplog):
    rows = {"type": "array", "items": {"type": "object", "properties": {"a": TEXT}}}
    talk = Talk(brain(), [function("import_rows", "Import rows.", rows=rows)])
    assert talk.hear("Please import the rows.").startswith("I am sorry, I cannot do that by voice: import rows.")
    assert talk.called == []
    assert "import_rows requires arguments" in caplog.text


@pytest.mark.parametrize(
    "parameters",
    [
        None,
        "nonsense",
        {"type": "object", "properties": {"a": {"type": "strnig"}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/x.json"}}, "required": ["a"]},
        {"$defs": {"a": {"$ref": "#/$defs/a"}}, "properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}, "required": ["a"]},
        {"type": "object", "properties": [1], "required": 7},
        {"type": "object", "properties": {"a": {"enum": 3}}, "required": ["a"]},
        {"type": "object", "properties": {"a": 5}, "required": ["a"]},
        {"type": "object", "required": ["never_declared"]},
    ],
)
def test_nonsense_in_place_of_a_schema_is_survived(parameters):
    tool = {"type": "function", "name": "count_sheep", "description": "Count sheep.", "parameters": parameters}
    talk = Talk(brain(), [tool])
    assert all(talk.hear("Please count the sheep.") for _ in range(5))


# Anything a client may declare, and anything a recogniser may write.

LEAVES = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("string")}, optional={"minLength": st.integers(0, 8), "maxLength": st.integers(1, 30)}
    ),
    st.sampled_from(
        [{"type": "string", "format": f} for f in ("date", "time", "date-time", "email")]
        + [{"type": "string", "pattern": p} for p in ("^[A-Z]-\\d+$", "^\\d{4}$", "^x$", "^[a-z]+\\d{2,}$")]
        + [{"enum": ["red", "dark_blue", 7, None]}, {"const": "x"}, {"type": "string", "enum": ["small", "large"]}]
    ),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number"])},
        optional={
            "minimum": st.integers(-5, 50),
            "exclusiveMaximum": st.integers(0, 2000),
            "multipleOf": st.integers(1, 7),
        },
    ),
    st.just({"type": "boolean"}),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(lambda schema: {"anyOf": [schema, {"type": "null"}]}),
        inner.map(lambda schema: {"type": "array", "items": schema, "minItems": 1}),
        st.dictionaries(st.sampled_from(["city", "zip_code", "day"]), inner, min_size=1, max_size=2).map(
            lambda fields: {"type": "object", "properties": fields, "required": list(fields)}
        ),
    ),
    max_leaves=3,
)


def refund_tool(required, fields):
    tool = function("refund_order", "Refund an order.")
    return {**tool, "parameters": {**tool["parameters"], "properties": fields, "required": required}}


NAMES = st.sampled_from("order_id amount reason date startTime size gift_wrap email name query phone x".split())  # noqa: SIM905 - as words
TOOLS = st.dictionaries(NAMES, SCHEMAS, max_size=4).flatmap(
    lambda fields: st.lists(st.sampled_from(sorted(fields) or ["-"]), unique=True).map(
        lambda required: refund_tool([name for name in required if name in fields], fields)
    )
)
HEARD = st.one_of(
    st.sampled_from(
        [
            *(
                "I want to refund order a ten forty two, 20 dollars, tomorrow at three.",
                "A-1042.",
                "Yes, please.",
                "No.",
            ),
            *(
                "john at example dot com",
                "Red.",
                "dark blue",
                "seven",
                "Paris",
                "Because it broke.",
                "minus five",
                "uh",
            ),
            *("next Tuesday at noon", "x", "$19.99", "the large one", "with gift wrap", "", "Goodbye.", "ab 77"),
        ]
    ),
    st.text(max_size=40),
)


@given(tool=TOOLS, heard=st.lists(HEARD, min_size=1, max_size=8), must=st.sampled_from(["auto", "required"]))
@settings(max_examples=120, deadline=None)
def test_no_tool_is_ever_called_with_arguments_that_its_schema_refuses(tool, heard, must):
    items = [agent(GREETING)]
    for text in ["I want to refund an order", *heard]:
        items.append(caller(text))
        done = deeds(brain(), turn(items, [tool], tool_choice=must))
        assert done  # a caller never meets silence
        for made in calls(done):
            formats = jsonschema.Draft202012Validator.FORMAT_CHECKER
            jsonschema.validate(made.arguments, tool["parameters"], format_checker=formats)
        items.append(agent(words(done)))


@given(tool=TOOLS, heard=st.lists(HEARD, min_size=30, max_size=30))
@settings(max_examples=25, deadline=None)
def test_a_request_never_asks_for_the_same_thing_without_end(tool, heard):
    items = [agent(GREETING)]
    said = []
    for text in ["I want to refund an order", *heard]:
        items.append(caller(text or "x"))
        done = deeds(brain(), turn(items, [tool]))
        if calls(done):
            return
        said.append(words(done))
        items.append(agent(said[-1]))
    for first in range(len(said) - QUESTIONS_MAX):
        again = said[first : first + QUESTIONS_MAX + 1]
        assert not (len(set(again)) == 1 and again[0].startswith("I am sorry, I did not get that"))


@given(heard=st.lists(HEARD, min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_the_same_conversation_gets_the_same_answer(heard):
    items = [caller(text) for text in heard]
    assert deeds(brain(), turn(items, SHOP)) == deeds(brain(), turn(items, SHOP))
