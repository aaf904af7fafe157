from federation.backends.eci.signature import AccessKey, sign

KEY = AccessKey(id="YourAccessKeyId", secret="YourAccessKeySecret")


def test_the_example_of_the_documentation_gets_the_signature_that_is_printed_there() -> None:
    signed = sign(
        {
            "ImageId": "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd",
            "RegionId": "cn-shanghai",
        },
        key=KEY,
        host="ecs.cn-shanghai.aliyuncs.com",
        action="RunInstances",
        date="2023-10-26T10:22:32Z",
        nonce="3156853299f313e23d1673dc12e1703d",
        version="2014-05-26",
    )

    assert signed.headers["Authorization"].endswith(
        "Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
    )


def test_the_secret_is_in_no_repr() -> None:
    key = AccessKey(id="id", secret="hush", token="whisper")
    signed = sign({"Password": "hush"}, key=key, host="h", action="A", date="d", nonce="n")

    assert "hush" not in repr(key) + repr(signed)
    assert "whisper" not in repr(key) + repr(signed)


def test_the_token_of_sts_is_signed_too() -> None:
    key = AccessKey(id="id", secret="s", token="t")
    signed = sign({}, key=key, host="h", action="A", date="d", nonce="n")

    assert signed.headers["x-acs-security-token"] == "t"
    assert "x-acs-security-token;" in signed.headers["Authorization"]
