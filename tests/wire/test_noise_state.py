import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from leanmesh.wire.noise_session import NoiseError
from leanmesh.wire.noise_state import HandshakeState


@attrs.frozen
class PublishedVector:
    """One run of Noise_XX_25519_ChaChaPoly_SHA256: private keys, and (payload, message) of each step."""

    source: str
    prologue: str
    initiator_static: str
    initiator_ephemeral: str
    responder_static: str
    responder_ephemeral: str
    handshake_hash: str | None
    handshake: list[tuple[str, str]]
    transport: list[tuple[str, str]]
    # Whose transport message comes first; then they take turns.
    initiator_goes_on: bool = False


VECTORS = [
    PublishedVector(
        source="cacophony",  # centromere/cacophony, vectors/cacophony.txt
        prologue="4a6f686e2047616c74",
        initiator_static="e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1",
        initiator_ephemeral="893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a",
        responder_static="4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893",
        responder_ephemeral="bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b",
        handshake_hash="c8e5f64e846193be2a834104c2a009868d6c9f3bd3c186299888b488b2f1f58e",
        handshake=[
            (
                "4c756477696720766f6e204d69736573",
                "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944"
                "4c756477696720766f6e204d69736573",
            ),
            (
                "4d757272617920526f746862617264",
                "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843"
                "81cbad1f276e038c48378ffce2b65285e08d6b68aaa3629a5a8639392490e5b9"
                "bd5269c2f1e4f488ed8831161f19b7815528f8982ffe09be9b5c412f8a0db50f"
                "8814c7194e83f23dbd8d162c9326ad",
            ),
            (
                "462e20412e20486179656b",
                "c7195ffacac1307ff99046f219750fc47693e23c3cb08b89c2af808b444850a8"
                "0ae475b9df0f169ae80a89be0865b57f58c9fea0d4ec82a286427402f113e4b6"
                "ae769a1d95941d49b25030",
            ),
        ],
        transport=[
            ("4361726c204d656e676572", "96763ed773f8e47bb3712f0e29b3060ffc956ffc146cee53d5e1df"),
            (
                "4a65616e2d426170746973746520536179",
                "3e40f15f6f3a46ae446b253bf8b1d9ffb6ed9b174d272328ff91a7e2e5c79c07f5",
            ),
            (
                "457567656e2042f6686d20766f6e2042617765726b",
                "eb3f3515110702e047a6c9da4478b6ead94873c11c0f2d710ddb3f09fce024b3a58502ae3f",
            ),
        ],
    ),
    PublishedVector(
        source="snow",  # mcginty/snow, tests/vectors/snow.txt
        prologue="5468657265206973206e6f20726967687420616e642077726f6e672e"
        "2054686572652773206f6e6c792066756e20616e6420626f72696e672e",
        initiator_static="7dec208517a3b81a2861d7a71266d5d6dc944c5a8816634a86fe63198a0148ee",
        initiator_ephemeral="a32daf21e93c0131495ce1d903181fde81cc46937daaeb990bae7c992709421e",
        responder_static="4d0aed5098e3b4ef20357e9f686ce66204c792b358da2e475017d6c485304881",
        responder_ephemeral="4eece0f195d026db035ff987597c429d3ad3bcc2944df37d649528951b2a27c5",
        handshake_hash=None,
        handshake=[
            (
                "d03c489139e645d0711a3c9e810d776b46a84912463fafa87b884eebf242dc34",
                "f9fa868ba97ab8a2686deccfaad5a484ee10a5bb85e3d1dce015a84797f92818"
                "d03c489139e645d0711a3c9e810d776b46a84912463fafa87b884eebf242dc34",
            ),
            (
                "d8190a92f7dc0c93dbea9118ba8055751fb7c6590c416ffbd419964132b99a85",
                "8c4e6fdb7d09d501a86f7eca5c234522751706ed409182c05cdf5f827d4dae47"
                "b81c6c5f43b025692c24391eefee725c17d8cb0fbe3e4abb8aedf42c4fd2592d"
                "4ea48ac08989d6ae8b4adae08b2c34087c808c7aa55a63c02b0fab9e93061233"
                "6bd43eaea04d3c670a0a146691aa9cc9d357872320dc735dbc48580cffb553db",
            ),
            (
                "77891b19dcb92ef7c055b672c4a5aa7fdf1c84146b8b303459022729473ce254",
                "933ca6b5ed60df3df66121f0ab49a09e49efa45c613a86a3cecbf4c535cef2f8"
                "3f72b42837b18e3572f2fdc2b74c331e2368a545cef54bdca081678ab0e9dd53"
                "48122459e0c034c851984d88ce610963d43cde6cfe73a67fbd5a63e8bfca96d0",
            ),
        ],
        transport=[
            (
                "d7efdf988072881941db045a42882433817555128fbf5663e56081712ec7d212",
                "54ef0ff0629e1aaa7685a2806ab111cba76b52331f2642276736f415868eacb6"
                "9ab2577f3bda0cbf72f879685f6ed25f",
            ),
            (
                "dd7bf01a588bafb52c6cfba952e5d8fe35cc2b3f92b4730ae2474615157345ce",
                "356be70f110306d5c699bb834bb9d58d909e325924dfbec972e406e6f294dc63"
                "e1daebefe8a62a334facc8048ab4ad66",
            ),
        ],
    ),
    PublishedVector(
        source="flynn",  # flynn/noise, vectors.txt
        prologue="",
        initiator_static="000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        initiator_ephemeral="202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f",
        responder_static="0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20",
        responder_ephemeral="4142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f60",
        handshake_hash=None,
        handshake=[
            ("", "358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254"),
            (
                "",
                "64b101b1d0be5a8704bd078f9895001fc03e8e9f9522f188dd128d9846d48466"
                "3414af878d3e46a2f58911a816d6e8346d4ea17a6f2a0bb4ef4ed56c133cff45"
                "60a34e36ea82109f26cf2e5a5caf992b608d55c747f615e5a3425a7a19eefb8f",
            ),
            (
                "",
                "87f864c11ba449f46a0a4f4e2eacbb7b0457784f4fca1937f572c93603e9c4d9"
                "7e5ea11b16f3968710b23a3be3202dc1b5e1ce3c963347491e74f5c0768a9b42",
            ),
        ],
        transport=[
            (
                "79656c6c6f777375626d6172696e65",
                "a52ef02ba60e12696d1d6b9ef4245c88fca757b6134ad6e76b56e310a6adf6",
            ),
            (
                "7375626d6172696e6579656c6c6f77",
                "2445aa438ebd649281c636cc7269ca82f1d9023d72520943aeabf909cdf521",
            ),
        ],
        initiator_goes_on=True,
    ),
]


def private_key(hex_text: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes.fromhex(hex_text))


def pair_of(vector: PublishedVector) -> tuple[HandshakeState, HandshakeState]:
    prologue = bytes.fromhex(vector.prologue)
    return HandshakeState(
        is_initiator=True,
        static_key=private_key(vector.initiator_static),
        ephemeral_key=private_key(vector.initiator_ephemeral),
        prologue=prologue,
    ), HandshakeState(
        is_initiator=False,
        static_key=private_key(vector.responder_static),
        ephemeral_key=private_key(vector.responder_ephemeral),
        prologue=prologue,
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.source)
def test_published_vectors_of_other_implementations_hold(vector: PublishedVector):
    initiator, responder = pair_of(vector)

    for number, (payload, message) in enumerate(vector.handshake):
        writer, reader = (responder, initiator) if number == 1 else (initiator, responder)
        assert writer.write(bytes.fromhex(payload)).hex() == message
        assert reader.read(bytes.fromhex(message)).hex() == payload

    assert initiator.is_complete
    assert responder.is_complete
    assert initiator.symmetric.transcript_hash == responder.symmetric.transcript_hash
    if vector.handshake_hash is not None:
        assert initiator.symmetric.transcript_hash.hex() == vector.handshake_hash
    forth, back = initiator.symmetric.split()
    for number, (payload, message) in enumerate(vector.transport):
        cipher = forth if (number % 2 == 0) == vector.initiator_goes_on else back
        nonce = bytes(4) + (number // 2).to_bytes(8, "little")
        assert cipher.encrypt(nonce, bytes.fromhex(payload), None).hex() == message


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_message_cut_off_anywhere_is_refused(number: int):
    messages = [bytes.fromhex(message) for _, message in VECTORS[2].handshake]
    for size in range(len(messages[number])):
        initiator, responder = pair_of(VECTORS[2])
        states = [responder, initiator, responder]
        initiator.write(b"")
        if number > 0:
            responder.read(messages[0])
            responder.write(b"")
        if number > 1:
            initiator.read(messages[1])
        with pytest.raises(NoiseError, match=r"too few for its keys|does not decrypt"):
            states[number].read(messages[number][:size])


def test_an_ephemeral_key_of_low_order_is_refused():
    _, responder = pair_of(VECTORS[0])
    responder.read(bytes(32))
    with pytest.raises(NoiseError, match="its X25519 key is of low order"):
        responder.write(b"")
