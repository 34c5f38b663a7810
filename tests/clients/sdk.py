"""The openstacksdk, unmodified: create, wait, list, stop, start, the log, delete, by its proxies and by its cloud layer.

    sdk.py CLOUD IMAGE    the name of a cloud in OS_CLIENT_CONFIG_FILE, and of an image
"""

import sys

import openstack

WAIT = 120


def proxies(conn, image, flavor):
    server = conn.compute.create_server(
        name="sdk1", image_id=image.id, flavor_id=flavor.id, networks="none", metadata={"made": "by sdk"}
    )
    assert server.id, server
    server = conn.compute.wait_for_server(server, status="ACTIVE", wait=WAIT)
    assert server.metadata == {"made": "by sdk"}, server.metadata
    assert [found.name for found in conn.compute.servers(details=False)] == ["sdk1"]
    assert [found.id for found in conn.compute.servers(status="ACTIVE", name="sdk")] == [server.id]
    assert conn.compute.find_server("sdk1").id == server.id
    assert isinstance(conn.compute.get_server_console_output(server)["output"], str)
    conn.compute.stop_server(server)
    conn.compute.wait_for_server(server, status="SHUTOFF", wait=WAIT)
    conn.compute.start_server(server)
    conn.compute.wait_for_server(server, status="ACTIVE", wait=WAIT)
    actions = [action.action for action in conn.compute.server_actions(server)]
    assert actions == ["start", "stop", "create"], actions
    conn.compute.delete_server(server)
    conn.compute.wait_for_delete(server, wait=WAIT)
    assert conn.compute.find_server("sdk1") is None


def cloud_layer(conn, image, flavor):
    server = conn.create_server("sdk2", image=image, flavor=flavor, auto_ip=False, wait=True, timeout=WAIT)
    assert server.status == "ACTIVE", server.status
    assert [found.name for found in conn.list_servers()] == ["sdk2"]
    assert conn.get_server("sdk2").id == server.id
    assert conn.delete_server("sdk2", wait=True, timeout=WAIT)
    assert conn.list_servers() == []
    assert conn.get_server("sdk2") is None


def main():
    conn = openstack.connect(cloud=sys.argv[1])
    image = conn.image.find_image(sys.argv[2], ignore_missing=False)
    flavor = conn.compute.find_flavor("c1.tiny", ignore_missing=False)
    proxies(conn, image, flavor)
    cloud_layer(conn, image, flavor)
    print("the SDK is content")


main()
