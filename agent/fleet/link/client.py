"""The MQTT library, used for one thing: packets in and out of one connection. The only file that imports it.

No thread of its own, no reconnecting, no queue that would outlive the connection: a new client for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.fleet.link.address import Address
from agent.fleet.link.credentials import Credentials
from agent.fleet.link.inspector import Oversized
from agent.fleet.link.messages import Protocol, Publication, Received
from agent.fleet.link.settings import LinkSettings
from agent.fleet.link.stream import Stream

RECEIVE_MAXIMUM: Final = 32
"""Messages that an MQTT 5 broker may have sent and that were not acknowledged yet."""
_UNLIMITED: Final = 65_535
_new_properties = cast(Callable[[int], Any], Properties)

SUCCESS: Final = MQTTErrorCode.MQTT_ERR_SUCCESS
CONNECTION_LOST: Final = MQTTErrorCode.MQTT_ERR_CONN_LOST
PROTOCOL_ERROR: Final = MQTTErrorCode.MQTT_ERR_PROTOCOL


class Client(PahoClient):
    """`send_connect` first; then its `loop_read`, `loop_write` and `loop_misc` are called by one thread."""

    def __init__(self, stream: Stream, settings: LinkSettings, version: Protocol) -> None:
        self._stream = stream
        self._settings = settings
        self._version5 = version == "5"
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            clean_session=None if self._version5 else settings.session_expiry_s == 0,
            protocol=MQTTProtocolVersion.MQTTv5 if self._version5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        self.max_inflight_messages_set(_UNLIMITED)  # the link itself counts
        self.on_socket_register_write = _write_later

    def _create_socket(self) -> Any:
        """The library would dial by itself, wait without end for a name or a WebSocket, and check no packet."""
        return self._stream

    def send_connect(self, address: Address, credentials: Credentials, will: Publication | None) -> None:
        if credentials.username is not None:
            self.username_pw_set(credentials.username, credentials.password)
        if will is not None:
            properties = _properties(will, PacketTypes.WILLMESSAGE, self._version5)
            self.will_set(will.topic, will.payload, will.qos, will.retain, properties)
        if not self._version5:
            self.connect(address.host, address.port, self._settings.keepalive_s)
            return
        properties = _new_properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = self._settings.session_expiry_s
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        properties.MaximumPacketSize = self._settings.max_packet_bytes
        self.connect(
            address.host,
            address.port,
            self._settings.keepalive_s,
            clean_start=self._settings.session_expiry_s == 0,
            properties=properties,
        )

    def send_subscribe(self, filters: Sequence[str]) -> int | None:
        """The packet's id. Retained messages come at each subscription, so that what a full queue dropped is healed;
        what we publish ourselves does not come back while we are connected, where the broker can (MQTT 5)."""
        qos = self._settings.subscription_qos
        topics: Any = [(filter, SubscribeOptions(qos=qos, noLocal=True, retainAsPublished=True)) for filter in filters]
        if not self._version5:
            topics = [(filter, qos) for filter in filters]
        return self.subscribe(topics)[1]

    def send_publish(self, publication: Publication, qos: int, retain: bool) -> int | None:
        """The packet's id, or None where the connection has gone."""
        properties = _properties(publication, PacketTypes.PUBLISH, self._version5)
        while True:
            info = self.publish(publication.topic, publication.payload, qos, retain, properties)
            if info.rc != MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:  # the number is still in use after 65,535 others
                return info.mid if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS else None


def _write_later(*_: Any) -> None:
    """Being there, it keeps the library from writing to the socket in the middle of other calls."""


def _properties(publication: Publication, kind: int, version5: bool) -> Properties | None:
    if not version5:
        return None
    properties: Properties = _new_properties(kind)
    if publication.response_topic is not None:
        properties.ResponseTopic = publication.response_topic
    if publication.correlation is not None:
        properties.CorrelationData = publication.correlation
    if publication.expiry_s is not None:
        properties.MessageExpiryInterval = publication.expiry_s
    if publication.content_type is not None:
        properties.ContentType = publication.content_type
    if publication.user_properties:
        properties.UserProperty = list(publication.user_properties)
    return properties


def received_of(message: MQTTMessage, connection: int) -> Received:
    """Raises `UnicodeDecodeError` for a topic that is not UTF-8."""
    properties = message.properties
    correlation = getattr(properties, "CorrelationData", None)
    return Received(
        topic=message.topic,
        payload=bytes(message.payload),
        qos=message.qos,
        retain=message.retain,
        duplicate=message.dup,
        response_topic=getattr(properties, "ResponseTopic", None),
        correlation=None if correlation is None else bytes(correlation),
        expiry_s=getattr(properties, "MessageExpiryInterval", None),
        content_type=getattr(properties, "ContentType", None),
        user_properties=tuple(getattr(properties, "UserProperty", ())),
        packet_id=message.mid,
        connection=connection,
    )


def without_payload(found: Oversized, connection: int) -> Received:
    """A message that was too large to be taken."""
    return Received(
        topic=found.topic,
        payload=b"",
        qos=found.qos,
        retain=found.retain,
        duplicate=found.duplicate,
        oversized_bytes=found.packet_bytes,
        packet_id=found.packet_id,
        connection=connection,
    )


def limit_of(properties: Properties | None, name: str, otherwise: int) -> int:
    """A number that the broker's CONNACK may hold."""
    return cast(int, getattr(properties, name, otherwise))


def code_of(reason: ReasonCode) -> tuple[int, str]:
    return reason.value, str(reason).lower()
