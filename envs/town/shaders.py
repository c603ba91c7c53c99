"""The shader programs of surfaces: lit, their labels, and their depths as the sun sees them.

A program has only what it needs: `BODY` is defined for what moves, `MIRROR` where there is glass or
coachwork, `GROUND` for what has stains and gets wet; `SUN`, `FOG`, `WET` and `LAMPS` as the weather has it.
"""

from __future__ import annotations

HEAD = """#version 330
"""

LOOK = """
layout(std140) uniform Look {
    mat4 view, before;  // from the world to cameras, now and at the frame before
    mat4 onto, onto_before;  // from the world to their images
    mat4 shade;
    vec4 focal;     // focal lengths over half of the size; how far clouds differ in brightness
    vec4 sun;       // towards it; metres by which surfaces are lifted before their shadows are looked up
    vec4 sunlight;  // how far lamps are lit
    vec4 skylight;
    vec4 haze;      // its density a metre
    vec4 eye;
    vec4 zenith;    // from which height of the noise on there are clouds
    vec4 cloud;     // how much they hide
    vec4 halo;      // its sharpness
    vec4 drift;     // of the clouds' two textures
    vec4 fog;       // where it begins, how fast it thins upwards, its density at the eye, and for the sky
    vec4 water;     // how wet the ground is; below which height of the noise there are puddles; 2 / size
    vec4 spot;      // from the world to the map of the lamps' light: a corner, and one over the size
    vec4 rain;      // how much, its slant, the frame, its brightness
};
"""

_VERTEX = (
    LOOK
    + """
in vec3 point; in vec4 normal; in vec2 uv; in vec4 colour; in uvec4 look;
#ifdef BODY
in mat4 place; in mat4 placed; in vec4 paint; in uvec4 body;  // body: id, tag, lights
#endif
"""
)

_PLACED = """
#ifdef BODY
    vec4 now = place * vec4(point, 1), then = placed * vec4(point, 1);
#else
    vec4 now = vec4(point, 1), then = now;
#endif
"""

SHADOW_VERTEX = HEAD + _VERTEX + "void main() {" + _PLACED + "gl_Position = shade * now; }"
SHADOW_FRAGMENT = HEAD + "void main() {}"

_NEEDS = """
#if defined(GROUND) && defined(WET)
#define POOLS
#endif
#if defined(MIRROR) || defined(POOLS)
#define BENT
#endif
#if defined(BENT) || defined(LAMPS)
#define CURVED
#endif
"""

LIT_VERTEX = (
    HEAD
    + _NEEDS
    + _VERTEX
    + """
layout(std140) uniform Signals { uvec4 states[SIGNAL_WORDS]; };  // in the first of four numbers, 16 of 2 bits
out vec2 tile; out vec3 world, ambient; flat out int layer; flat out vec3 glow;
#ifdef SUN
out vec3 direct, shaded;
#endif
#ifdef CURVED
out vec3 tint, outward;
#endif

// How brightly a lamp shines: -1 for what is none.
float shines(uint lamp, int slot) {
    if (lamp == 0u) return -1.0;
#ifdef BODY
    uint wanted = lamp == 4u ? 0x8u : lamp == 5u ? 0x7u : lamp == 6u ? 0x10u : lamp == 7u ? 0x20u
        : lamp == 8u ? 0x40u : 0x1u;
    // Brake lights are tail lights, too.
    return (body.z & wanted) != 0u ? 1.0 : lamp == 4u && (body.z & 0x7u) != 0u ? 0.35 : 0.0;
#else
    if (lamp > 3u) return sunlight.a > 0.3 ? 1.0 : -1.0;
    uint state = (states[slot >> 4].x >> uint(2 * (slot & 15))) & 3u;
    return state + 1u == lamp ? 1.0 : 0.0;
#endif
}

// What depends on neither textures nor shadows is worked out here: there are fewer corners than pixels.
void main() {
"""
    + _PLACED
    + """
    vec3 n = (normal.xyz * 255.0 - 127.0) / 127.0, own = colour.rgb;  // moderngl has no signed bytes
#ifdef BODY
    n = mat3(place) * n;
    if (look.x == COACHWORK || look.x == CLOTH) own *= paint.rgb;
    if (look.x == DENIM) own *= mix(vec3(0.22, 0.25, 0.36), vec3(0.62, 0.54, 0.42), paint.a * paint.a);
    if (look.x == SKIN) own *= 1.0 - 0.55 * fract(paint.a * 7.0);
#endif
    n = normalize(n);
    gl_Position = onto * now;
    world = now.xyz; tile = uv; layer = int(look.x);
    float shine = shines(look.z, int(look.w) + 256 * int(colour.a * 255.0 + 0.5));
    glow = max(shine, 0.0) * (1.2 * own * own + 0.05);
    own *= shine < 0.0 ? 1.0 : sqrt(0.13 * (1.0 - shine));
    ambient = own * own * skylight.rgb * (0.72 + 0.28 * n.z);
#ifdef SUN
    direct = own * own * sunlight.rgb * max(dot(n, sun.xyz), 0.0);
    shaded = (shade * vec4(now.xyz + sun.w * n, 1)).xyz * 0.5 + 0.5;
#endif
#ifdef CURVED
    tint = own; outward = n;
#endif
}
"""
)

LIT_FRAGMENT = (
    HEAD
    + _NEEDS
    + LOOK
    + """
uniform sampler2DArray tiles; uniform sampler2DShadow shadows; uniform sampler2D lamplight;
in vec2 tile; in vec3 world, ambient; flat in int layer; flat in vec3 glow;
#ifdef SUN
in vec3 direct, shaded;
#endif
#ifdef CURVED
in vec3 tint, outward;
#endif
out vec4 seen;  // on wet ground, the last is how much it mirrors

#ifdef SUN
float light() {
    vec2 edge = abs(shaded.xy * 2.0 - 1.0);
    float rim = max(edge.x, edge.y);
    float lit = texture(shadows, shaded - vec3(0, 0, 0.0004));
    return rim > 0.999 || shaded.z > 1.0 ? 1.0 : mix(lit, 1.0, smoothstep(0.85, 0.99, rim));
}
#endif

#ifdef LAMPS
// The light of lit windows; the parts of a wall that share a draw are half a tile wide.
vec3 rooms(float pane) {
    vec3 house = floor(tint * 255.0 + 0.5);
    vec2 room = floor(tile * 2.0);
    float draw = fract(sin(dot(room, vec2(12.9898, 78.233)) + dot(house, vec3(0.37, 0.91, 0.53))) * 4375.85);
    float on = step(draw, 0.45 * sunlight.a) * pane * (0.2 + 0.8 * fract(draw * 71.0));
    return on * mix(vec3(0.95, 0.62, 0.28), vec3(0.75, 0.75, 0.62), fract(draw * 37.0));
}
#endif

// Both branches of an `if` cost on a CPU: what is here is what all surfaces of a program need.
void main() {
    // As sharp as on an image of twice the size.
    vec4 texel = texture(tiles, vec3(tile, layer), -0.4);
    vec3 base = texel.rgb;
#ifdef GROUND
    // Stains and worn spots, larger than a tile: the ground must not look the same every few metres.
    vec3 stains = texture(tiles, vec3(world.xy * 0.027, VARIATION)).rgb;
    float stain = stains.r;
    base *= layer <= GRASS ? 0.62 + 0.76 * stains : vec3(1.0);
#endif
#ifdef BENT
    vec3 n = normalize(outward);
#endif
#ifdef WET
    float film = 0.0;
#ifdef POOLS
    float level = layer <= KERB || layer == PAINT ? max(n.z, 0.0) : 0.0;
    float hollow = 0.5 * stain + 0.5 * texture(tiles, vec3(world.yx * 0.11, VARIATION)).r;
    float pool = level * (1.0 - smoothstep(water.y - 0.05, water.y + 0.02, hollow));
    film = max(0.7 * level * water.x, pool);
#endif
    base *= 1.0 - 0.10 * water.x - 0.30 * film;
#endif
    vec3 received = ambient;
#ifdef SUN
    float lit = light();
    received += direct * lit;
#endif
#ifdef LAMPS
    // The map has the light at the ground and, times the green, the height below which it shines.
    vec4 lamp = texture(lamplight, (world.xy - spot.xy) * spot.z);
    float under = clamp(0.5 * (lamp.a / max(lamp.g, 0.001) - world.z), 0.0, 1.0);
    received += tint * tint * lamp.rgb * (sunlight.a * under * (0.62 + 0.38 * outward.z));
#endif
    vec3 shade = base * base * received;
#ifdef BENT
    vec3 way = normalize(world - eye.xyz), back = reflect(way, n);
    float turned = 1.0 - max(dot(-way, n), 0.0), grazing = turned * turned * turned * turned;
#endif
#ifdef MIRROR
    float mirror = layer == GLASS ? 0.10 : layer == COACHWORK ? 0.03 : 0.0;
    vec3 bright = mix(vec3(0.07) * haze.rgb, haze.rgb * haze.rgb, 0.5 + 0.5 * clamp(4.0 * back.z, -0.2, 1.0));
    shade = mix(shade, bright, mirror > 0.0 ? mirror + 0.5 * grazing : 0.0);
#endif
    float mirrored = 0.0;
#ifdef POOLS
    mirrored = (0.03 + 0.97 * grazing) * max(0.6 * film, pool);
#ifdef SUN
    float glint = max(dot(back, sun.xyz), 0.0);
    shade += sunlight.rgb * (lit * film * (4.0 * pow(glint, 900.0) + 0.35 * pow(glint, 60.0)));
#endif
#endif
#if defined(LAMPS) && !defined(BODY)
    shade += rooms(texel.a);
#endif
    // The square root stands for sRGB's curve.
    vec3 colour = sqrt(min(shade + glow, 1.0));
    float far = 1.0 / gl_FragCoord.w;
#ifdef FOG
    float rise = fog.y * (world.z - eye.z);
    float thinned = abs(rise) > 0.01 ? (1.0 - exp(-rise)) / rise : 1.0 - 0.5 * rise;
    float veil = 1.0 - exp(-max(far - fog.x, 0.0) * fog.z * thinned);
#else
    float veil = min(far * haze.a, 0.85);
#endif
    seen = vec4(mix(colour, haze.rgb, veil), mirrored * (1.0 - veil));
}
"""
)

LABEL_VERTEX = (
    HEAD
    + _VERTEX
    + """
out vec3 there; flat out float name;
void main() {
"""
    + _PLACED
    + """
    gl_Position = onto * now;
    there = (onto_before * then).xyw;
#ifdef BODY
    name = float(((look.y == 0u ? body.y : look.y) << 16) | body.x);
#else
    name = float(look.y << 16);
#endif
}
"""
)

LABEL_FRAGMENT = (
    HEAD
    + LOOK
    + """
in vec3 there; flat in float name;
out vec4 label;  // depth, flow, and the tag before 16 bits of the body's id
void main() {
    vec2 here = gl_FragCoord.xy * water.zw - 1.0;
    // Behind the camera of before there is no place in its image: the motion is the largest that can be sent.
    vec2 flow = there.z > 0.01 ? here - there.xy / there.z : vec2(2.0);
    label = vec4(min(1.0 / gl_FragCoord.w, FAR), clamp(flow, -2.0, 2.0), name);
}
"""
)
