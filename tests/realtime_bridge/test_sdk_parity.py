"""Every public behaviour of the realtime sessions of OpenAI's agent SDKs, and the test that shows it here.

`PYTHON` covers the installed `openai-agents` package, whose public names are read below: a name that is new there fails
the test until it has a row. `JAVASCRIPT` covers `@openai/agents-realtime` of autumn 2026, written down by hand. A row's
test is "file::test"; a row that begins with "-" tells why the thing is left out.
"""

import ast
import dataclasses
import inspect
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

HERE = Path(__file__).parent
TALK, TOOLS, SAY = (
    "session/test_session_talking.py",
    "session/test_session_tools.py",
    "session/test_session_approvals.py",
)
MOVE, GUARD, LINE = (
    "session/test_session_handoffs.py",
    "session/test_session_guardrails.py",
    "session/test_session_line.py",
)
CONFIG, SPEAK = "session/test_session_config.py", "session/test_response_sequencer.py"
LIVE, CODE, EVENTS = "test_realtime_session.py", "test_realtime_user_code.py", "test_realtime_events.py"

PYTHON = {
    # events
    "event.agent_start": f"{EVENTS}::test_hooks_are_called_in_order_and_their_failures_told",
    "event.agent_end": f"{TALK}::test_a_message_is_sent_and_answered",
    "event.handoff": f"{MOVE}::test_a_hand_off_changes_everything_in_one_update",
    "event.tool_start": f"{TOOLS}::test_a_tool_runs_and_its_result_is_spoken_of",
    "event.tool_end": f"{TOOLS}::test_a_tool_runs_and_its_result_is_spoken_of",
    "event.tool_approval_required": f"{SAY}::test_a_call_waits_for_approval_with_its_exact_arguments",
    "event.raw_model_event": f"{LINE}::test_everything_the_transport_says_can_be_seen",
    "event.audio": f"{EVENTS}::test_where_the_program_plays_it_gets_the_audio",
    "event.audio_end": f"{EVENTS}::test_where_the_program_plays_it_gets_the_audio",
    "event.audio_interrupted": f"{TALK}::test_after_a_barge_in_the_history_holds_what_was_heard",
    "event.error": f"{LINE}::test_other_errors_are_told_and_survived",
    "event.history_updated": f"{TALK}::test_the_first_event_is_the_empty_history",
    "event.history_added": "session/test_conversation.py::test_an_item_is_added_once_and_then_updated",
    "event.guardrail_tripped": f"{GUARD}::test_a_trip_stops_the_reply_and_tells_the_model_once",
    "event.input_audio_timeout_triggered": f"{LINE}::test_keys_and_silence_are_told",
    # methods
    "session.approve_tool_call": f"{CODE}::test_an_approval_asked_and_given",
    "session.reject_tool_call": f"{CODE}::test_an_approval_refused_with_a_message",
    "session.close": f"{LIVE}::test_closing_is_idempotent_and_leaves_no_task_behind",
    "session.enter": "- `async with` is the one way in: nothing is left open by accident",
    "session.interrupt": f"{LIVE}::test_the_program_may_interrupt_and_ask_for_responses",
    "session.model": f"{LIVE}::test_the_programs_own_object_is_given_to_user_code",
    "session.on_event": "- the model's listener; a transport's listener is the session's own business here",
    "session.send_audio": f"{LIVE}::test_audio_goes_straight_to_the_transport",
    "session.send_message": f"{LIVE}::test_messages_may_be_text_parts_or_as_the_api_writes_them",
    "session.update_agent": f"{LIVE}::test_the_agent_can_be_changed_and_so_can_its_clone",
    # run config
    "run.model_settings": f"{CONFIG}::test_the_program_wins_over_the_agent",
    "run.output_guardrails": "test_agents.py::test_guardrails_of_agent_and_session_count_once",
    "run.guardrails_settings": f"{GUARD}::test_guardrails_run_on_the_growing_words",
    "run.tracing_disabled": f"{CONFIG}::test_what_may_not_change_is_sent_once_per_model_session",
    "run.async_tool_calls": "- tools never run in the read loop; there is no way to make them block it",
    "run.tool_execution": "test_invocation.py::test_guardrails_can_run_before_anybody_is_asked",
    "run.tool_error_formatter": f"{CODE}::test_the_program_may_word_what_the_model_is_told_of_errors",
    "guardrails.debounce_text_length": "session/test_output_guards.py::test_words_are_checked_whenever_they_have_grown_enough",
    "tool_execution.pre_approval_tool_input_guardrails": "test_invocation.py::test_guardrails_can_run_before_anybody_is_asked",
    # model settings
    "settings.model_name": f"{LIVE}::test_the_first_update_is_the_agents",
    "settings.instructions": f"{CONFIG}::test_the_agents_part",
    "settings.prompt": "test_agents.py::test_a_prompt_may_be_given_or_made",
    "settings.modalities": "- the beta's name of output_modalities",
    "settings.output_modalities": f"{CONFIG}::test_one_agents_settings_do_not_linger_with_the_next",
    "settings.audio": f"{CONFIG}::test_every_update_carries_both_formats_and_they_win",
    "settings.voice": f"{CONFIG}::test_the_voice_stays_once_it_was_heard",
    "settings.speed": "test_agents.py::test_model_settings_become_fields_of_the_session",
    "settings.max_output_tokens": "test_agents.py::test_model_settings_become_fields_of_the_session",
    "settings.input_audio_format": f"{CONFIG}::test_every_update_carries_both_formats_and_they_win",
    "settings.output_audio_format": f"{CONFIG}::test_every_update_carries_both_formats_and_they_win",
    "settings.input_audio_transcription": f"{LIVE}::test_the_first_update_is_the_agents",
    "settings.input_audio_noise_reduction": f"{CONFIG}::test_objects_merge_unless_their_type_differs",
    "settings.turn_detection": f"{CONFIG}::test_objects_merge_unless_their_type_differs",
    "settings.tool_choice": "test_agents.py::test_model_settings_become_fields_of_the_session",
    "settings.parallel_tool_calls": f"{CODE}::test_tools_run_side_by_side",
    "settings.reasoning": "- passed through by ModelSettings.reasoning, as any field of the session",
    "settings.tools": f"{CONFIG}::test_the_agents_part",
    "settings.handoffs": f"{CONFIG}::test_the_agents_part",
    "settings.tracing": f"{CONFIG}::test_what_may_not_change_is_sent_once_per_model_session",
    # connection
    "connection.api_key": "transport/test_endpoint.py",
    "connection.url": "transport/test_endpoint.py",
    "connection.headers": "transport/test_endpoint.py",
    "connection.call_id": "transport/test_endpoint.py",
    "connection.initial_model_settings": f"{CONFIG}::test_the_program_wins_over_the_agent",
    "connection.playback_tracker": "session/test_program_playback.py::test_a_program_that_knows_better_is_believed",
    # agents
    "agent.name": "test_agents.py::test_an_agent_that_cannot_work_is_refused_at_once",
    "agent.handoff_description": "test_agents.py::test_a_hand_off_describes_itself",
    "agent.tools": "test_agents.py::test_disabled_tools_and_hand_offs_are_hidden",
    "agent.mcp_servers": "- MCP servers that the program itself talks to are tools like any other (`Tool(...)`); hosted ones are HostedMcpTool",
    "agent.mcp_config": "- as mcp_servers",
    "agent.instructions": "test_agents.py::test_instructions_may_be_text_or_a_function",
    "agent.prompt": "test_agents.py::test_a_prompt_may_be_given_or_made",
    "agent.handoffs": "test_agents.py::test_two_agents_may_hand_over_to_each_other",
    "agent.output_guardrails": "test_agents.py::test_guardrails_of_agent_and_session_count_once",
    "agent.hooks": f"{EVENTS}::test_hooks_are_called_in_order_and_their_failures_told",
    "hooks.on_start": f"{EVENTS}::test_hooks_are_called_in_order_and_their_failures_told",
    "hooks.on_end": f"{EVENTS}::test_hooks_are_called_in_order_and_their_failures_told",
    "hooks.on_tool_start": f"{EVENTS}::test_hooks_are_called_in_order_and_their_failures_told",
    "hooks.on_tool_end": f"{EVENTS}::test_hooks_are_called_in_order_and_their_failures_told",
    "hooks.on_handoff": f"{CODE}::test_a_hand_off_with_input_filter_and_hooks",
    "hooks.on_llm_start": "- of text runs; a realtime session has no call to a model that begins and ends",
    "hooks.on_llm_end": "- as on_llm_start",
    # hand-offs
    "handoff.agent": "test_agents.py::test_a_hand_off_describes_itself",
    "handoff.tool_name_override": "test_agents.py::test_a_hand_off_describes_itself",
    "handoff.tool_description_override": "test_agents.py::test_a_hand_off_describes_itself",
    "handoff.on_handoff": "test_agents.py::test_a_hand_off_whose_parts_do_not_go_together_is_refused",
    "handoff.input_type": "test_agents.py::test_a_hand_off_takes_typed_input",
    "handoff.is_enabled": "test_agents.py::test_disabled_tools_and_hand_offs_are_hidden",
    # tools
    "tool.func": "test_tools.py::test_a_callable_object_can_be_a_tool",
    "tool.name_override": "test_tools.py::test_impossible_settings_are_refused",
    "tool.description_override": "test_schema.py::test_descriptions_come_from_the_docstring_in_any_common_style",
    "tool.docstring_style": "- found out from the docstring itself",
    "tool.use_docstring_info": "- a description given by hand wins; there is no reason to hide the docstring",
    "tool.failure_error_function": "test_invocation.py::test_a_tool_may_have_its_own_words_for_its_errors",
    "tool.strict_mode": "test_schema.py::test_an_open_object_cannot_be_strict_but_can_be_a_tool",
    "tool.is_enabled": "test_agents.py::test_disabled_tools_and_hand_offs_are_hidden",
    "tool.needs_approval": "test_invocation.py::test_whether_approval_is_needed_fails_closed",
    "tool.tool_input_guardrails": "test_invocation.py::test_an_input_guardrail_keeps_a_tool_from_running",
    "tool.tool_output_guardrails": "test_invocation.py::test_an_output_guardrail_replaces_a_result",
    "tool.timeout": "test_invocation.py::test_a_tool_that_takes_too_long_is_given_up",
    "tool.timeout_behavior": "test_invocation.py::test_a_tool_that_takes_too_long_is_given_up",
    "tool.timeout_error_function": f"{CODE}::test_the_program_may_word_what_the_model_is_told_of_errors",
    "tool.defer_loading": "- the Responses API's tool search; the Realtime API has none",
    "tool.custom_data_extractor": "- of text runs' stored items",
    "tool.allowed_callers": "- of code run by the Responses API",
    "tool.output_type": "- the Realtime API takes no output schema",
    "tool.output_json_schema": "- as output_type",
    # behaviour without a name of its own
    "behaviour.duplicate tool names are refused": f"{LIVE}::test_duplicate_names_are_refused_before_anything_is_connected",
    "behaviour.tool not found is told to the model": f"{TOOLS}::test_a_tool_nobody_has_is_told_to_the_model",
    "behaviour.calls go to the agent of their response": f"{TOOLS}::test_a_call_goes_to_the_agent_whose_response_made_it",
    "behaviour.a repeated call id runs once": f"{TOOLS}::test_the_same_call_delivered_twice_runs_once",
    "behaviour.a reused call id is refused": f"{TOOLS}::test_a_call_id_used_again_for_another_call_is_refused",
    "behaviour.always approve and always reject": f"{SAY}::test_always_decides_later_calls_of_this_tool",
    "behaviour.approvals end with the session": f"{LINE}::test_at_the_end_nobody_is_asked_any_more_and_what_runs_is_stopped",
    "behaviour.transcripts survive later items": "session/test_conversation.py::test_a_transcript_survives_an_item_that_comes_without_it",
    "behaviour.images survive later items": "session/test_conversation.py::test_images_survive_an_update_without_them",
    "behaviour.items stand behind their predecessor": "session/test_conversation.py::test_items_stand_behind_the_one_they_follow",
    "behaviour.deleted items leave the history": "session/test_conversation.py::test_deleted_items_do_not_come_back_with_a_late_event",
    "behaviour.structured results become JSON": "test_invocation.py::test_anything_can_be_a_result",
    "behaviour.guardrails run on typed text too": f"{GUARD}::test_typed_replies_are_guarded_too",
    "behaviour.a guardrail that raises is skipped": f"{EVENTS}::test_a_guardrail_that_fails_or_hangs_counts_as_the_program_says",
    "behaviour.no feedback into a newer turn": f"{GUARD}::test_a_trip_that_comes_late_does_not_reach_into_a_newer_turn",
    "behaviour.user code's exceptions come out of the iterator": f"{CODE}::test_what_a_tool_raises_ends_the_session_if_the_program_wants_it_so",
    "behaviour.the iterator ends with the session": f"{LIVE}::test_a_caller_who_hangs_up_ends_the_session_and_its_tools",
    "behaviour.usage is added up": f"{LINE}::test_usage_is_told_per_response_and_in_total",
    "behaviour.a failed connection leaves nothing behind": f"{LIVE}::test_a_refused_connection_is_the_programs_to_know",
    "behaviour.a scripted model for tests": f"{LIVE}::test_a_conversation_from_beginning_to_end",
}

JAVASCRIPT = {
    # options of RealtimeSession
    "option.apiKey": "transport/test_endpoint.py",
    "option.transport": f"{LIVE}::test_a_conversation_from_beginning_to_end",
    "option.model": f"{LIVE}::test_the_first_update_is_the_agents",
    "option.context": f"{LIVE}::test_the_programs_own_object_is_given_to_user_code",
    "option.outputGuardrails": f"{EVENTS}::test_a_guardrail_stops_what_must_not_be_said",
    "option.outputGuardrailSettings": f"{GUARD}::test_guardrails_run_on_the_growing_words",
    "option.config": f"{CONFIG}::test_the_program_wins_over_the_agent",
    "option.historyStoreAudio": f"{TALK}::test_audio_is_fetched_when_it_shall_be_kept",
    "option.tracingDisabled": f"{CONFIG}::test_what_may_not_change_is_sent_once_per_model_session",
    "option.groupId": "- a field of config's `tracing`, passed through",
    "option.traceMetadata": "- as groupId",
    "option.workflowName": "- as groupId",
    "option.automaticallyTriggerResponseForMcpToolCalls": f"{SAY}::test_a_hosted_call_is_told_and_spoken_of",
    "option.toolErrorFormatter": f"{CODE}::test_the_program_may_word_what_the_model_is_told_of_errors",
    # methods and properties
    "session.connect": f"{LIVE}::test_the_first_update_is_the_agents",
    "session.updateAgent": f"{LIVE}::test_the_agent_can_be_changed_and_so_can_its_clone",
    "session.getInitialSessionConfig": f"{LIVE}::test_the_first_update_can_be_known_before",
    "session.computeInitialSessionConfig": f"{LIVE}::test_the_first_update_can_be_known_before",
    "session.updateHistory": f"{LIVE}::test_the_history_can_be_edited",
    "session.sendMessage": f"{LIVE}::test_messages_may_be_text_parts_or_as_the_api_writes_them",
    "session.addImage": f"{LIVE}::test_messages_may_be_text_parts_or_as_the_api_writes_them",
    "session.mute": f"{LIVE}::test_audio_goes_straight_to_the_transport",
    "session.close": f"{LIVE}::test_closing_is_idempotent_and_leaves_no_task_behind",
    "session.sendAudio": f"{LIVE}::test_audio_goes_straight_to_the_transport",
    "session.interrupt": f"{LIVE}::test_the_program_may_interrupt_and_ask_for_responses",
    "session.approve": f"{CODE}::test_an_approval_asked_and_given",
    "session.reject": f"{CODE}::test_an_approval_refused_with_a_message",
    "session.transport": f"{LIVE}::test_the_programs_own_object_is_given_to_user_code",
    "session.currentAgent": f"{LIVE}::test_the_agent_can_be_changed_and_so_can_its_clone",
    "session.usage": f"{LINE}::test_usage_is_told_per_response_and_in_total",
    "session.context": f"{LIVE}::test_the_programs_own_object_is_given_to_user_code",
    "session.muted": f"{LIVE}::test_audio_goes_straight_to_the_transport",
    "session.history": f"{LIVE}::test_the_history_can_be_edited",
    "session.availableMcpTools": f"{SAY}::test_hosted_tools_are_listed_for_the_agent_that_has_them",
    # events
    "event.agent_start": f"{EVENTS}::test_hooks_are_called_in_order_and_their_failures_told",
    "event.agent_end": f"{TALK}::test_a_message_is_sent_and_answered",
    "event.agent_handoff": f"{MOVE}::test_a_hand_off_changes_everything_in_one_update",
    "event.agent_tool_start": f"{TOOLS}::test_a_tool_runs_and_its_result_is_spoken_of",
    "event.agent_tool_end": f"{TOOLS}::test_a_tool_runs_and_its_result_is_spoken_of",
    "event.transport_event": f"{LINE}::test_everything_the_transport_says_can_be_seen",
    "event.audio_start": f"{EVENTS}::test_where_the_program_plays_it_gets_the_audio",
    "event.audio_stopped": f"{EVENTS}::test_where_the_program_plays_it_gets_the_audio",
    "event.audio": f"{EVENTS}::test_where_the_program_plays_it_gets_the_audio",
    "event.audio_interrupted": f"{TALK}::test_after_a_barge_in_the_history_holds_what_was_heard",
    "event.guardrail_tripped": f"{GUARD}::test_a_trip_stops_the_reply_and_tells_the_model_once",
    "event.history_updated": f"{TALK}::test_the_first_event_is_the_empty_history",
    "event.history_added": "session/test_conversation.py::test_an_item_is_added_once_and_then_updated",
    "event.error": f"{LINE}::test_other_errors_are_told_and_survived",
    "event.tool_approval_requested": f"{SAY}::test_a_hosted_tool_asks_for_approval_once",
    "event.mcp_tools_changed": f"{SAY}::test_hosted_tools_are_listed_for_the_agent_that_has_them",
    "event.mcp_tool_call_completed": f"{SAY}::test_a_hosted_call_is_told_and_spoken_of",
    # behaviour
    "behaviour.backgroundResult": f"{TOOLS}::test_a_silent_result_is_recorded_and_not_spoken_of",
    "behaviour.one response at a time": f"{SPEAK}::test_one_at_a_time",
    "behaviour.automatic responses merge": f"{SPEAK}::test_automatic_asks_merge_and_explicit_ones_do_not",
    "behaviour.a refused response.create frees the way": f"{SPEAK}::test_other_refusals_are_final",
    "behaviour.formats survive a hand-off": f"{CONFIG}::test_every_update_carries_both_formats_and_they_win",
    "behaviour.history edits become deletes and creates": "session/test_edits.py::test_a_changed_item_is_deleted_and_created_under_a_new_id",
    "behaviour.policyHint of a guardrail reaches the model": f"{GUARD}::test_a_guardrail_may_have_its_own_words_for_the_model",
    "behaviour.listeners": f"{EVENTS}::test_listeners_hear_what_they_asked_for_until_they_stop",
}


@cache
def names_in(file: str) -> set[str]:
    tree = ast.parse((HERE / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("table", [PYTHON, JAVASCRIPT], ids=["python", "javascript"])
def test_every_row_names_a_test_that_exists_or_a_reason(table):
    missing = []
    for name, shown in table.items():
        if shown.startswith("- "):
            continue
        file, _, test = shown.partition("::")
        if not (HERE / file).is_file() or (test and test not in names_in(file)):
            missing.append(f"{name}: {shown}")
    assert missing == []


def public_names() -> set[str]:
    from agents import function_tool
    from agents.lifecycle import AgentHooksBase
    from agents.realtime import agent, config, events, handoffs, session
    from agents.realtime.model import RealtimeModelConfig

    return {
        *(f"event.{kind.type}" for kind in get_args(events.RealtimeSessionEvent)),
        *(f"session.{name}" for name in dir(session.RealtimeSession) if not name.startswith("_")),
        *(f"run.{name}" for name in config.RealtimeRunConfig.__annotations__),
        *(f"guardrails.{name}" for name in config.RealtimeGuardrailsSettings.__annotations__),
        *(f"tool_execution.{name}" for name in config.RealtimeToolExecutionConfig.__annotations__),
        *(f"settings.{name}" for name in config.RealtimeSessionModelSettings.__annotations__),
        *(f"connection.{name}" for name in RealtimeModelConfig.__annotations__),
        *(f"agent.{field.name}" for field in dataclasses.fields(agent.RealtimeAgent)),
        *(f"hooks.{name}" for name in dir(AgentHooksBase) if name.startswith("on_")),
        *(f"handoff.{name}" for name in inspect.signature(handoffs.realtime_handoff).parameters),
        *(f"tool.{name}" for name in inspect.signature(function_tool).parameters),
    }


def test_no_public_name_of_the_python_sdk_is_without_a_row():
    pytest.importorskip("agents")
    assert public_names() - set(PYTHON) == set()
