"""The shader programs: one picture of lit surfaces with sky, one of labels, one of shadows' depths."""

from __future__ import annotations

_HEAD = """#version 330
"""

_VERTEX = """
layout(std140) uniform Look {
    mat4 view, before, projection, shade;
    vec4 focal;     // focal lengths over half of the size
    vec4 sun, sunlight, skylight, haze;   // the last of haze: its density a metre
    vec4 eye;
};
in vec3 point; in vec4 normal; in vec2 uv; in vec4 colour; in uvec4 look;
#ifdef BODY
in mat4 place; in mat4 placed; in vec4 paint; in uvec4 body;  // body: id, tag, lights
#endif
uniform sampler2D signals;
"""

_PLACED = """
#ifdef BODY
    vec4 now = place * vec4(point, 1), then = placed * vec4(point, 1);
#else
    vec4 now = vec4(point, 1), then = now;
#endif
"""

SHADOW_VERTEX = _HEAD + "//BODY\n" + _VERTEX + "void main() {" + _PLACED + "gl_Position = shade * now; }"
SHADOW_FRAGMENT = _HEAD + "void main() {}"

LIT_VERTEX = (
    _HEAD
    + "//BODY\n"
    + _VERTEX
    + """
out vec2 tile; out vec3 tint, outward, world, shaded; out float far; flat out int layer; flat out float glow;

float shines(uint lamp, int slot) {
    if (lamp == 0u) return -1.0;
    if (lamp < 4u) {
        float state = floor(texelFetch(signals, ivec2(slot & 255, slot >> 8), 0).r * 255.0 + 0.5);
        return state + 1.0 == float(lamp) ? 1.0 : 0.0;
    }
#ifdef BODY
    uint wanted = lamp == 4u ? 0x8u : lamp == 5u ? 0x7u : lamp == 6u ? 0x10u : lamp == 7u ? 0x20u
        : lamp == 8u ? 0x40u : 0x1u;
    return (body.z & wanted) != 0u ? 1.0 : 0.0;
#else
    return 0.0;
#endif
}

void main() {
"""
    + _PLACED
    + """
    vec3 n = (normal.xyz * 255.0 - 127.0) / 127.0;  // moderngl has no signed bytes
    tint = colour.rgb;
#ifdef BODY
    n = mat3(place) * n;
    if (look.x == COACHWORK || look.x == CLOTH) tint *= paint.rgb;
#endif
    vec4 seen = view * now;
    gl_Position = projection * seen;
    far = -seen.z; outward = n; world = now.xyz; tile = uv; layer = int(look.x);
    shaded = (shade * vec4(now.xyz + 0.06 * normalize(n), 1)).xyz * 0.5 + 0.5;
    glow = shines(look.z, int(look.w) + 256 * int(colour.a * 255.0 + 0.5));
}
"""
)

_SKY = """
vec3 sky(vec3 way) {
    float up = max(way.z, 0.0);
    vec3 blue = mix(haze.rgb, vec3(0.22, 0.42, 0.76), pow(up, 0.55));
    vec2 plane = way.xy / (up + 0.18);
    float cloud = texture(tiles, vec3(plane * 0.11, VARIATION)).r * 0.6
        + texture(tiles, vec3(plane * 0.37 + 0.3, VARIATION)).r * 0.4;
    float cover = smoothstep(0.50, 0.62, cloud) * smoothstep(0.02, 0.22, up);
    float halo = max(dot(way, sun.xyz), 0.0);
    return mix(blue, vec3(0.93, 0.94, 0.96) - 0.25 * (cloud - 0.5), cover * 0.85) + 0.25 * pow(halo, 24.0);
}
"""

LIT_FRAGMENT = (
    _HEAD
    + """
layout(std140) uniform Look {
    mat4 view, before, projection, shade; vec4 focal; vec4 sun, sunlight, skylight, haze; vec4 eye;
};
uniform sampler2DArray tiles; uniform sampler2DShadow still, moving;
in vec2 tile; in vec3 tint, outward, world, shaded; in float far; flat in int layer; flat in float glow;
out vec4 seen;

float light() {
    vec2 edge = abs(shaded.xy * 2.0 - 1.0);
    float rim = max(edge.x, edge.y);
    vec3 at = shaded - vec3(0, 0, 0.0004);
    float lit = min(texture(still, at), texture(moving, at));
    return rim > 0.999 || shaded.z > 1.0 ? 1.0 : mix(lit, 1.0, smoothstep(0.85, 0.99, rim));
}

// Both branches of an `if` cost on a CPU: what is here is what all surfaces need.
void main() {
    vec3 base = texture(tiles, vec3(tile, layer)).rgb * tint;
    // Stains and worn spots, larger than a tile: the ground must not look the same every few metres.
    float stain = texture(tiles, vec3(world.xy * 0.027, VARIATION)).r;
    base *= layer <= GRASS ? 0.62 + 0.76 * stain : 1.0;
    vec3 n = normalize(outward), way = normalize(world - eye.xyz);
    float facing = max(dot(n, sun.xyz), 0.0);
    vec3 ambient = skylight.rgb * (0.72 + 0.28 * n.z);
    vec3 shade = base * base * (ambient + sunlight.rgb * facing * light());
    float mirror = layer == GLASS ? 0.10 : layer == COACHWORK ? 0.03 : 0.0;
    float turned = 1.0 - max(dot(-way, n), 0.0);
    float up = clamp(4.0 * reflect(way, n).z, -0.2, 1.0);
    vec3 bright = mix(vec3(0.07), haze.rgb * haze.rgb, 0.5 + 0.5 * up);
    shade = mix(shade, bright, mirror > 0.0 ? mirror + 0.5 * turned * turned * turned * turned : 0.0);
    shade = glow < 0.0 ? shade : glow > 0.5 ? tint * tint * 1.2 + 0.05 : shade * 0.13;
    // The square root stands for sRGB's curve.
    vec3 colour = sqrt(min(shade, 1.0));
    seen = vec4(mix(colour, haze.rgb, min(far * haze.a, 0.85)), 1);
}
"""
)

LABEL_VERTEX = (
    _HEAD
    + "//BODY\n"
    + _VERTEX
    + """
out float far; out vec4 here, there; flat out vec4 name;
void main() {
"""
    + _PLACED
    + """
    vec4 e = view * now;
    here = projection * e; there = projection * (before * then);
    gl_Position = here; far = -e.z;
#ifdef BODY
    uint tag = look.y == 0u ? body.y : look.y;
    name = vec4(float(tag), float(body.x & 255u), float(body.x >> 8), 255.0) / 255.0;
#else
    name = vec4(float(look.y), 0, 0, 255.0) / 255.0;
#endif
}
"""
)

LABEL_FRAGMENT = (
    _HEAD
    + """
in float far; in vec4 here, there; flat in vec4 name;
layout(location = 0) out vec4 named; layout(location = 1) out vec4 measured;
void main() {
    named = name;
    // Behind the camera of before there is no place in its image: the motion is the largest that can be sent.
    vec2 flow = there.w > 0.01 ? here.xy / here.w - there.xy / there.w : vec2(2.0);
    measured = vec4(min(far, FAR), clamp(flow, -2.0, 2.0), 1);
}
"""
)

SKY_VERTEX = (
    _HEAD
    + """
layout(std140) uniform Look {
    mat4 view, before, projection, shade; vec4 focal; vec4 sun, sunlight, skylight, haze; vec4 eye;
};
in vec2 corner;
out vec3 way; out vec2 place;
void main() {
    gl_Position = vec4(corner, 1, 1);
    place = corner;
    way = transpose(mat3(view)) * vec3(corner / focal.xy, -1);
}
"""
)

SKY_FRAGMENT = (
    _HEAD
    + """
layout(std140) uniform Look {
    mat4 view, before, projection, shade; vec4 focal; vec4 sun, sunlight, skylight, haze; vec4 eye;
};
uniform sampler2DArray tiles;
in vec3 way; in vec2 place; out vec4 seen;
"""
    + _SKY
    + "void main() { seen = vec4(sky(normalize(way)), 1); }"
)

SKY_LABEL_FRAGMENT = (
    _HEAD
    + """
layout(std140) uniform Look {
    mat4 view, before, projection, shade; vec4 focal; vec4 sun, sunlight, skylight, haze; vec4 eye;
};
in vec3 way; in vec2 place;
layout(location = 0) out vec4 named; layout(location = 1) out vec4 measured;
void main() {
    // The sky is so far away that only turning moves it.
    vec3 then = mat3(before) * way;
    vec2 flow = then.z < -0.01 ? place - then.xy / -then.z * focal.xy : vec2(2.0);
    named = vec4(SKY / 255.0, 0, 0, 1); measured = vec4(FAR, clamp(flow, -2.0, 2.0), 1);
}
"""
)

SHRINK_VERTEX = (
    _HEAD
    + """
in vec2 corner;
out vec2 place;
void main() { gl_Position = vec4(corner, 0, 1); place = corner * 0.5 + 0.5; }
"""
)

SHRINK_FRAGMENT = (
    _HEAD
    + """
uniform sampler2D large;
in vec2 place; out vec4 seen;
// The middle of a pixel lies where four of the large image meet: linear filtering is their mean.
void main() { seen = texture(large, place); }
"""
)
